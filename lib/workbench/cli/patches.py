"""`python -m lib patch …`: show the content of a patch file, or remove an edit.

`show` reads only the file. `drop` writes the other facts again, so it needs the model.
"""

from __future__ import annotations

import argparse
import json

import torch

from ...atomic_files import path_of
from ...errors import ArgumentError
from ...patch.patch import Edit, LowRank, Patch
from ...patch.undo import without
from . import options
from .options import MODEL, command, option

SHOWN = 100  # printed facts


@command(
    "patch show|drop FILE",
    "prints the content of a saved patch, or removes one edit",
    option("action", choices=("show", "drop"), help="what to do with the file"),
    option("file", type=path_of, help="a saved patch"),
    option("--to", type=path_of, help="drop: the file to write"),
    option(
        "--fact", metavar="WHICH", help="drop: a fact's number, as printed by show, or its subject"
    ),
    *MODEL,
)
def run_patch(given: argparse.Namespace) -> None:
    """Check that the options belong to the action, then run it."""
    if given.action == "drop":
        _drop(given)
        return
    for name in ("to", "fact"):
        if getattr(given, name) is not None:
            raise ArgumentError(f"patch show has no --{name}. Remove it.")
    _show(given)


def _show(given: argparse.Namespace) -> None:
    """Print the content of a patch file."""
    path = given.file
    patch = Patch.load(path)
    places = {name: _place(value) for name, value in patch.weights.items()}
    places |= {name: f"route ({route.kind})" for name, route in patch.routes.items()}
    print(f"{path.name}: {path.stat().st_size:,} bytes, for {patch.base or 'any model'}")
    for number, edit in enumerate(patch.log):
        print(f"line {number}: {edit.editor}, {_count(edit)}\n  {json.dumps(dict(edit.settings))}")
    facts = patch.facts[:SHOWN]
    for number, fact in enumerate(facts):
        print(f"fact {number}: {fact.text} -> {fact.target_new.strip()}")
    if more := len(patch.facts) - len(facts):
        print(f"… and {more:,} more facts")
    for name, said in places.items():
        print(f"{name}: {said}")
    if patch.rewrites:
        print(f"rewrites of prompts: {', '.join(one.kind for one in patch.rewrites)}")


def _count(edit: Edit) -> str:
    """Return the number of facts written by a line of the log."""
    return f"{len(edit):,} fact{'s' * (len(edit) != 1)}"


def _place(value: torch.Tensor | LowRank) -> str:
    """Return a description of a matrix in a patch."""
    shape = " × ".join(map(str, value.shape))
    if isinstance(value, LowRank):
        return f"{shape}, a change of rank {value.rank} at most in {len(value.chunks)} parts"
    return f"{shape}, a new matrix"


def _drop(given: argparse.Namespace) -> None:
    """Remove one fact from a patch, save the rest, and print a summary."""
    if given.to is None:
        raise ArgumentError("patch drop needs --to, the file to write.")
    if given.fact is None:
        raise ArgumentError("patch drop needs --fact, a number printed by show, or a subject.")
    patch = Patch.load(given.file)
    named = int(given.fact) if given.fact.removeprefix("-").isdecimal() else given.fact
    left = without(options.load(given), patch, named)
    rest = f"{len(left.facts):,} other fact{'s' * (len(left.facts) != 1)} in the patch"
    print(f"dropped and written again without it: {rest}\nsaved: {left.save(given.to)}")
