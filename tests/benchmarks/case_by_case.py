"""Benchmarks that measure single edits case by case, store each, and go on where a run ended."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from tests.benchmarks.conversation import chosen

METRICS = ("efficacy", "generalization", "specificity", "locality")
Row = Callable[[int, lib.Case], dict[str, Any]]


def measured(about: str, out: Path, cases: int, rows: Callable[[lib.LM], Row]) -> None:
    """The command of a benchmark: --cases, --minutes and --out.

    about  its docstring, whose first line is its help
    rows   makes of the default model what measures a case, given its place and itself

    The cases are odd-numbered ones of the classroom, one of each relation before the second of any.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--minutes", type=float, default=12, help="begin nothing after these")
    parser.add_argument("--out", type=Path, default=out)
    given = parser.parse_args()
    until = time.time() + 60 * given.minutes
    lm = lib.load(dtype="float32")
    found: dict[str, Any] = {"model": lm.fingerprint, "cases": {}}
    if given.out.exists():
        found = json.loads(given.out.read_text(encoding="utf-8"))
    row_of = rows(lm)
    for number, case in enumerate(chosen(even=False)[: given.cases]):
        if str(case.id) in found["cases"] or time.time() > until:
            continue
        found["cases"][str(case.id)] = row_of(number, case)
        found["date"] = time.strftime("%Y-%m-%d")
        with whole_file(given.out) as part:
            part.write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(case.id, flush=True)
