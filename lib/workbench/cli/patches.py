"""`python -m lib patch …`: look into a patch file, or take an edit back.

`show` reads the file alone, and the facts of a stream in its data file. `drop` may have to write
the other facts again, so it needs the model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ...atomic_files import path_of
from ...data.facts import Fact
from ...errors import ArgumentError, FactError
from ...patch.patch import Edit, LowRank, Patch
from ...patch.undo import SAID, without
from . import options
from .options import MODEL, command, option

SHOWN = 100  # facts that are printed


@command(
    "patch show|drop FILE",
    "says what is in a saved patch, or takes one edit back",
    option("action", choices=("show", "drop"), help="what to do with the file"),
    option("file", type=path_of, help="a saved patch"),
    option("--to", type=path_of, help="drop: the file to write"),
    option("--fact", metavar="WHICH", help="drop: a fact's number, as show counts, or its subject"),
    *MODEL,
)
def run_patch(given: argparse.Namespace) -> None:
    """Check that the options belong to the action, and carry it out."""
    if given.action == "drop":
        _drop(given)
        return
    for name in ("to", "fact"):
        if getattr(given, name) is not None:
            raise ArgumentError(f"patch show has no --{name}")
    _show(given)


def _show(given: argparse.Namespace) -> None:
    """Print what is in a patch file."""
    path = given.file
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


def _drop(given: argparse.Namespace) -> None:
    """Take one fact out of a patch, save the rest, and say how."""
    if given.to is None:
        raise ArgumentError("patch drop needs --to, the file to write")
    if given.fact is None:
        raise ArgumentError("patch drop needs --fact, a number that show gives, or a subject")
    patch = Patch.load(given.file)
    named = int(given.fact) if given.fact.removeprefix("-").isdecimal() else given.fact
    found = without(options.load(given), patch, named)
    saved = found.patch.save(given.to)
    print(f"dropped: {found.fact.text} -> {found.fact.target_new.strip()}\n{SAID[found.way]}")
    print(f"saved: {saved}")
