"""`python -m lib patch …`: look into patch files, compare and add them, take an edit back.

`show`, `diff` and `merge` read the files alone, and `show` the facts of a stream in its data file.
`drop` may have to write the other facts again, so it needs the model, and so does `apply`, which is
`export --as model` under another name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

from ...atomic_files import path_of
from ...data.facts import Fact
from ...errors import ArgumentError, FactError
from ...patch.merging import contradictions, diff, merge, told
from ...patch.patch import Edit, LowRank, Patch
from ...patch.undo import SAID, without
from . import options
from .commands import run_export
from .options import MODEL, command, option

SHOWN = 100  # facts that are printed
ALLOWED = {  # what each of them takes beside its files
    "show": set(),
    "diff": set(),
    "merge": {"to", "keep"},
    "drop": {"to", "fact"},
    "apply": {"to"},
}


@command(
    "patch show|diff|merge|drop|apply FILE …",
    "says what is in saved patches and where two differ, adds them, takes one edit back",
    option("action", choices=tuple(ALLOWED), help="what to do with the files"),
    option("files", nargs="+", type=path_of, metavar="FILE", help="saved patches"),
    option("--to", type=path_of, help="the file to write (of apply: a new or empty folder)"),
    option("--keep", choices=("first", "last"), help="merge: whose answer stays where two differ"),
    option("--fact", metavar="WHICH", help="drop: a fact's number, as show counts, or its subject"),
    *MODEL,
)
def run_patch(given: argparse.Namespace) -> None:
    """Check that the options belong to the action, and carry it out."""
    for name in set().union(*ALLOWED.values()) - ALLOWED[given.action]:
        if getattr(given, name) is not None:
            raise ArgumentError(f"patch {given.action} has no --{name}")
    if "to" in ALLOWED[given.action] and given.to is None:
        raise ArgumentError(f"patch {given.action} needs --to")
    count, wanted = len(given.files), {"diff": "two files", "merge": "two files or more"}
    if count != {"diff": 2, "merge": max(2, count)}.get(given.action, 1):
        takes = wanted.get(given.action, "one file")
        raise ArgumentError(f"patch {given.action} takes {takes}, not {count}")
    ACTIONS[given.action](given)


def _show(given: argparse.Namespace) -> None:
    """Print what is in a patch file."""
    (path,) = given.files
    patch = Patch.load(path)
    places = {name: _place(value) for name, value in patch.weights.items()}
    places |= {name: f"route ({route.kind})" for name, route in patch.routes.items()}
    print(f"{path.name}: {path.stat().st_size:,} bytes, for {patch.base or 'any model'}")
    for number, edit in enumerate(patch.log):
        print(f"line {number}: {edit.editor}, {_count(edit)}\n  {json.dumps(dict(edit.settings))}")
    facts: list[Fact] = []
    try:  # those of a stream stand in its source, which may be gone
        for edit in patch.log:
            some = edit.part(0, min(len(edit), SHOWN - len(facts)))
            facts += some.read() if len(some) else ()
    except FactError as error:
        print(f"facts from number {len(facts)} on are not shown: {error}")
    for number, fact in enumerate(facts):
        print(f"fact {number}: {fact.text} -> {fact.target_new.strip()}")
    if (more := sum(map(len, patch.log)) - len(facts)) > 0:
        print(f"… and {more:,} more facts")
    for name, said in places.items():
        print(f"{name}: {said}")
    if patch.rewrites:
        print(f"rewrites of prompts: {', '.join(one.kind for one in patch.rewrites)}")


def _count(edit: Edit) -> str:
    """How many facts a line of the log wrote, and where those of a stream stand."""
    said = f"{len(edit):,} fact{'s' * (len(edit) != 1)}"
    if edit.source is None or edit.rows is None:
        return said
    return f"{said}, rows {edit.rows[0]} to {edit.rows[1] - 1} of {Path(edit.source).name}"


def _place(value: torch.Tensor | LowRank) -> str:
    """What a patch holds of a matrix."""
    shape = " × ".join(map(str, value.shape))
    if isinstance(value, LowRank):
        return f"{shape}, a change of rank {value.rank} at most in {len(value.chunks)} parts"
    return f"{shape}, a new matrix"


def _diff(given: argparse.Namespace) -> None:
    """Print in which facts and by how much two patches differ."""
    first, second = map(Patch.load, given.files)
    found = diff(first, second)
    if first.base != second.base:
        print(
            f"the first is for {first.base or 'any model'}, the second for {second.base or 'any'}"
        )
    groups = {"only in the first": found["first"], "only in the second": found["second"]}
    for title, some in {**groups, "in both": found["both"]}.items():
        print(f"{title}: {len(some):,} facts")
        for subject, prompt in [*some][:SHOWN]:
            print(f"  {prompt.replace('{}', subject or '{}')} -> {some[subject, prompt]}")
    print(f"in both with different answers: {len(found['against']):,} facts")
    for asked in found["against"][:SHOWN]:
        print(f"  {told(asked, first, second)}")
    _say_streams(first, second)
    for module, (apart, norms) in found["modules"].items():
        sizes = " and ".join("a new matrix" if n is None else f"{n:.4g}" for n in norms)
        said = "not known without the model" if apart is None else f"{apart:.4g}"
        print(f"{module}: apart {said}; the changes are {sizes}")
    for module in dict.fromkeys((*first.routes, *second.routes)):
        kinds = [p.routes[module].kind if module in p.routes else "none" for p in (first, second)]
        print(f"{module}: routes {kinds[0]} and {kinds[1]}, whose entries are not compared")


def _say_streams(*patches: Patch) -> None:
    """Say that facts in data files were not compared, where there are such."""
    if count := sum(len(edit) for patch in patches for edit in patch.log if not edit.facts):
        print(f"{count:,} facts of streams stand in data files and were not compared")


def _merge(given: argparse.Namespace) -> None:
    """Add patches, one after the other, and save the result."""
    total, *patches = map(Patch.load, given.files)
    lm, said = None, []
    for patch in patches:
        _say_streams(total, patch)
        against = contradictions(total, patch) if given.keep else []
        said += [f"{told(asked, total, patch)}: the {given.keep} stays" for asked in against]
        lm = lm or (options.load(given) if against else None)
        total = merge(total, patch, given.keep if against else None, lm)
    saved = total.save(given.to)
    print(*said, sep="\n", end="\n" * bool(said))
    print(
        "The changes were added as they are: the answers may differ from those of edits that were "
        "made one after the other, so ask them. An editor of weights that made edits in both "
        f"remembers neither for its next edit.\nsaved: {saved}"
    )


def _drop(given: argparse.Namespace) -> None:
    """Take one fact out of a patch, save the rest, and say how."""
    if given.fact is None:
        raise ArgumentError("patch drop needs --fact, a number that show gives, or a subject")
    patch = Patch.load(given.files[0])
    named = int(given.fact) if given.fact.removeprefix("-").isdecimal() else given.fact
    found = without(options.load(given), patch, named)
    saved = found.patch.save(given.to)
    print(f"dropped: {found.fact.text} -> {found.fact.target_new.strip()}\n{SAID[found.way]}")
    print(f"saved: {saved}")


def _apply(given: argparse.Namespace) -> None:
    """Write the whole edited model, as `export --as model` does."""
    given.patch, given.kind, given.rank, given.type = given.files[0], "model", None, None
    run_export(given)


ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "show": _show,
    "diff": _diff,
    "merge": _merge,
    "drop": _drop,
    "apply": _apply,
}
