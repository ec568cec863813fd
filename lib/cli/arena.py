"""The command `python -m lib arena`, which runs all editors on the same facts, in one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import Arena, classroom, read_cases
from ..arena import report
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    arena = commands.add_parser("arena", help="run all editors on the same facts, in one table")
    arena.add_argument("--to", type=Path, required=True, help="folder of results: new, or to go on")
    arena.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="facts in a known format (repeatable; default: classroom)",
    )
    arena.add_argument("--lengths", default="1,10,100", help="edits in a row; 1: 50 single edits")
    arena.add_argument("--editors", help="names, with commas (default: all)")
    arena.add_argument("--budget", type=float, help="seconds; the same call goes on later")
    options.keep_base(arena)
    options.model(arena)
    arena.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Run what is not done yet, and write arena.md and arena.html."""
    lengths = options.numbers("--lengths", given.lengths, 1_000_000)
    if given.budget is not None and not given.budget > 0:
        raise ValueError(f"--budget is a number of seconds above 0, not {given.budget:g}")
    data: dict[str, Any] = {}
    for pair in given.data:
        name, equals, path = pair.partition("=")
        if not (equals and name and path):
            raise ValueError(f"--data wants NAME=FILE, not '{options.shortened(pair)}'")
        data[name] = read_cases(Path(path), limit=max(50, *lengths))
    data = data or {"classroom": classroom(given.model)}
    editors = given.editors.split(",") if given.editors else None
    lm = options.load(given)
    arena = Arena(lm, data, given.to, lengths, editors, keep_base=given.keep_base)
    done = len(arena.results)
    for cell, result in arena.run(given.budget):
        done += result is not None
        what = "done" if result else arena.left_out[cell]
        print(f"[{done}/{len(arena.cells)}] {cell.editor}, {cell.data}, {cell.edits}: {what}")
    for path in report.write(arena, given.to):
        print(f"saved: {path}")
