"""A long run in two lines of a notebook: read its stored rows, make the first ones again.

    rows = long_runs.rows("08_three")
    long_runs.repeats(rows, lambda: live[:2], ["scores", "layer"], tolerance=0.02)

A module `runs_NN_topic` with a function `runs(lm)` gives its long runs as `stored_runs.LongRun`.
`python -m notebooks.build --long NN` makes these one after another, without the notebook.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import models, stored_runs

PAPERS = stored_runs.DATA.parents[1] / "tests/benchmarks/papers"


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a long run that a module's `runs` gives; a test compares its settings."""
    return stored_runs.read(stored_runs.DATA / f"{name}.json")["rows"]


def paper(name: str) -> dict[str, Any]:
    """The run of this name that the papers' command has stored: its settings and its rows."""
    return stored_runs.read(PAPERS / f"{name}.json")


def repeats(
    rows: Sequence[Mapping[str, Any]],
    make: Callable[[], Iterable[Mapping[str, Any]]],
    keys: Sequence[str] | None = None,
    tolerance: float = 0.0,
) -> list[Mapping[str, Any]]:
    """Make the first rows of a stored run again, and return them.

    With the library's own model at scale "small", which made the stored rows, they must agree in
    the columns `keys` (all by default), and numbers that are no integers up to `tolerance` (another
    machine's last digits): AssertionError names the row and the column that do not. At the other
    scales, and with EDIT_MODEL, the code runs, but another model gives other numbers.
    """
    live = list(make())
    if models.another() or os.environ.get("EDIT_SCALE", "small") != "small":
        return live
    assert live, "there are no live rows to compare"
    assert len(live) <= len(rows), f"{len(live)} live rows, but only {len(rows)} are stored"
    for i, (row, stored) in enumerate(zip(live, rows, strict=False)):
        for key in keys or row:
            assert key in row and key in stored, f"row {i} has no column {key!r}"
            said = f"row {i}, {key}: live {row[key]!r}, stored {stored[key]!r}"
            assert _same(row[key], stored[key], tolerance), said
    return live


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) or isinstance(b, float):
        numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
        return numbers and abs(a - b) <= tolerance
    return a == b


def make(number: str, minutes: float) -> None:
    """Make what is missing of a notebook's long runs, until the minutes are over."""
    end = time.monotonic() + 60 * minutes
    (found,) = Path(__file__).parent.glob(f"runs_{number}_*.py")
    lm = models.load("small", sink="own")
    for run in importlib.import_module(f"notebooks.support.{found.stem}").runs(lm):
        print(stored_runs.make(run, (end - time.monotonic()) / 60).name, file=sys.stderr)


if __name__ == "__main__":
    try:
        make(sys.argv[1], float(sys.argv[2]))
    except stored_runs.OutOfTimeError as stopped:
        print(f"{stopped}; run the command again to continue", file=sys.stderr)
