"""`python -m lib patch …`: look into patch files, compare and add them, take an edit back.

`show`, `diff` and `merge` read the files alone. `drop` writes the other edits again, so it needs
the model, and so does `apply`, which is `export --as model` under another name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

from ..atomic_files import path_of
from ..errors import ArgumentError, PatchError
from ..model.lm import LM
from ..patch.merging import Asked, contradictions, distance, listed, merged, told, written
from ..patch.patch import Edit, LowRank, Patch
from . import options
from .commands import run_export
from .options import MODEL, command, option

SHOWN = 20  # facts that are printed
ALLOWED = {  # what each of them takes beside its files
    "show": set(),
    "diff": set(),
    "merge": {"to", "keep"},
    "drop": {"to", "fact"},
    "apply": {"to"},
}


@command(
    "patch",
    "look into saved patches, compare and merge them, take an edit back",
    option("action", choices=tuple(ALLOWED), help="what to do with the files"),
    option("files", nargs="+", type=path_of, metavar="FILE", help="saved patches"),
    option("--to", type=path_of, help="the file to write (of apply: a new or empty folder)"),
    option("--keep", choices=("first", "last"), help="merge: whose answer stays where two differ"),
    option("--fact", type=int, metavar="N", help="drop: the number of a fact, as show counts them"),
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
    facts = [fact for _, fact in listed(patch)]
    places = {name: _place(value) for name, value in patch.weights.items()}
    places |= {name: f"route ({route.kind})" for name, route in patch.routes.items()}
    print(f"{path.name}: {path.stat().st_size:,} bytes, for {patch.base or 'any model'}")
    for number, edit in enumerate(patch.log):
        print(f"line {number}: {edit.editor}, {_count(edit)}\n  {json.dumps(dict(edit.settings))}")
    for number, fact in enumerate(facts[:SHOWN]):
        print(f"fact {number}: {fact.text} -> {fact.target_new.strip()}")
    if len(facts) > SHOWN:
        print(f"… and {len(facts) - SHOWN:,} more facts")
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
    one, other = written(first), written(second)
    against = contradictions(first, second)
    groups: dict[str, list[Asked]] = {
        "only in the first": [asked for asked in one if asked not in other],
        "only in the second": [asked for asked in other if asked not in one],
        "in both": [asked for asked in one if one[asked] == other.get(asked)],
    }
    if first.base != second.base:
        print(
            f"the first is for {first.base or 'any model'}, the second for {second.base or 'any'}"
        )
    for title, some in groups.items():
        print(f"{title}: {len(some):,} facts")
        answers = other if "second" in title else one
        for subject, prompt in some[:SHOWN]:
            print(f"  {prompt.replace('{}', subject or '{}')} -> {answers[subject, prompt]}")
    print(f"in both with different answers: {len(against):,} facts")
    for asked in against[:SHOWN]:
        print(f"  {told(asked, first, second)}")
    _say_streams(first, second)
    for module in dict.fromkeys((*first.weights, *second.weights)):
        apart, norms = distance(first, second, module)
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
    patches = [Patch.load(path) for path in given.files]
    total, lm = patches[0], None
    for patch in patches[1:]:
        _say_streams(total, patch)
        for asked in contradictions(total, patch):
            if given.keep is None:
                merged(total, patch)  # which refuses, and says what contradicts
            lm = lm or options.load(given)
            print(f"{told(asked, total, patch)}: the {given.keep} stays")
            if given.keep == "first":
                patch = _without(patch, asked, lm)
            else:
                total = _without(total, asked, lm)
        total = merged(total, patch)
    print(
        "The changes were added as they are: the answers may differ from those of edits that were "
        "made one after the other, so ask them. An editor of weights that made edits in both "
        "remembers neither for its next edit."
    )
    print(f"saved: {total.save(given.to)}")


def _without(patch: Patch, asked: Asked, lm: LM) -> Patch:
    """The patch without every fact about this subject and prompt."""
    while at := [n for n, (_, f) in enumerate(listed(patch)) if (f.subject, f.prompt) == asked]:
        patch = dropped(patch, at[0], lm)
    return patch


def dropped(patch: Patch, number: int, lm: LM) -> Patch:
    """The patch without one fact, counted from 0, by `Patch.without`.

    Raises PatchError where there is no such fact, and where its edit wrote others with it.
    """
    line = [*listed(patch)][number][0]
    if len(patch.log[line]) > 1:
        raise PatchError(
            f"fact {number} was written by {patch.log[line].editor} in one edit with "
            f"{len(patch.log[line]) - 1} others, which would leave with it: edit those again"
        )
    lm.check(patch)
    return patch.without(line, lm)


def _drop(given: argparse.Namespace) -> None:
    """Take one fact out of a patch, and save the rest."""
    if given.fact is None:
        raise ArgumentError("patch drop needs --fact N, the number that show gives it")
    patch, number = Patch.load(given.files[0]), given.fact
    facts = [fact for _, fact in listed(patch)]
    if not 0 <= number < len(facts):
        raise PatchError(
            f"the patch holds {len(facts)} facts, there is no fact {options.shortened(str(number))}"
        )
    rest = dropped(patch, number, options.load(given))
    print(f"dropped: {facts[number].text} -> {facts[number].target_new.strip()}")
    print(
        "The other edits were written again one after the other, as if it had never been made. For "
        "a patch that was merged this is not its sum without that edit, so ask them again."
    )
    print(f"saved: {rest.save(given.to)}")


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
