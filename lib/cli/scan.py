"""The command `python -m lib scan`, which tries an editor over layers and proposes a preset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import classroom, read_cases
from .. import scan as scan_of
from ..data.facts import Case
from . import options

LAYERS = 10_000  # more than any model has; the scan itself knows how many this one has


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    scan = commands.add_parser(
        "scan", help="try an editor over layers on a few cases, propose a preset"
    )
    scan.add_argument(
        "--data",
        type=Path,
        help="JSON or JSONL in a known format (default: even cases of the classroom)",
    )
    scan.add_argument("--cases", type=int, default=8, help="how many to try on (default 8)")
    scan.add_argument("--layers", help="where to look: 2-28 or 2,5,8 (default: everywhere)")
    scan.add_argument("--widths", help="layers of a window, for editors of several: 1,3,5")
    scan.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="values of a setting, the most important setting first: v_lr=0.1,0.25 (repeatable)",
    )
    scan.add_argument("--around", type=int, default=2, help="layers beside the best (default 2)")
    scan.add_argument(
        "--together",
        action=argparse.BooleanOptionalAction,
        help="all facts in one call of the editor, or each alone (default: as the editor is meant)",
    )
    scan.add_argument("--budget", type=float, help="seconds (default: as long as it takes)")
    scan.add_argument("--journal", type=Path, help="keep every trial here, and go on from it")
    scan.add_argument(
        "--target", choices=("new", "true"), default="new", help="which answer is taught"
    )
    scan.add_argument("--json", type=Path, dest="out", help="write all rows here")
    options.common(scan)
    scan.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Try the editor as the options say, and print the table and the preset."""
    layers = given.layers and options.numbers("--layers", given.layers, LAYERS)
    widths = given.widths and options.numbers("--widths", given.widths, LAYERS)
    grid = _grid(given.grid)
    if given.cases < 1:
        raise ValueError(f"--cases should be at least 1, not {given.cases}")
    cases: Sequence[Case]
    if given.data:
        cases = read_cases(given.data, limit=given.cases, target=given.target)
    else:  # odd cases stay unseen, so that a preset chosen here can be measured on them
        cases = [case for case in classroom(given.model) if case.id % 2 == 0][: given.cases]
    lm = options.load(given)
    found = scan_of(
        lm,
        given.editor,
        cases,
        layers,
        given.budget,
        grid,
        given.around,
        given.journal,
        given.together,
        widths=widths,
        settings=options.settings(given.set),
        say=lambda line: print(line, flush=True),
    )
    print(found)
    print(f"\n{found.preset()}", end="")
    options.keep(given.out, found.json())


def _grid(pairs: list[str]) -> dict[str, list[Any]]:
    """The values of each setting in NAME=V1,V2 pairs, read as JSON where they can be.

    _grid(["v_lr=0.1,0.25"]) -> {"v_lr": [0.1, 0.25]}
    """
    grid = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        if not equals:
            raise ValueError(f"--grid wants NAME=V1,V2, not '{pair}'")
        # all values as one JSON list, so that a value may be a list with commas of its own
        listed = options.value(f"[{values}]")
        if not isinstance(listed, list):
            listed = [options.value(text) for text in values.split(",")]
        grid[options.named("--grid", name)] = listed
    return grid
