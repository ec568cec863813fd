"""May ROME's search end earlier? The published loss of 0.05 against 0.4, on cases nobody chose on.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.rome_enough --cases 48 --minutes 15

Single edits on odd-numbered classroom cases, one of each relation before the second of any. 0.4 was
found on sixteen even ones (`sweeps.json`). Each case is edited under both settings in turn, and
stored with its CPU seconds when both are measured, so that a run goes on where the last one ended.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lib
from lib.evaluation.evaluate import measure
from lib.evaluation.probe_prompts import probe_items
from tests.benchmarks import command
from tests.benchmarks.case_by_case import METRICS, Row, measured
from tests.benchmarks.conversation import values

OUT = Path(__file__).with_suffix(".json")
ARMS = (0.05, 0.4)


def rows(lm: lib.LM) -> Row:
    """What edits a case under both settings, in turn, and measures both."""
    editors = {arm: lib.EDITORS["rome"](lm, enough=arm) for arm in ARMS}
    # contexts and C are made once, and are no part of an edit
    editors[ARMS[0]].edit([lib.classroom()[0].fact])

    def row_of(number: int, case: lib.Case) -> dict[str, Any]:
        items, row = probe_items([case], METRICS), {}
        before = measure(lm, items, lib.EMPTY, metrics=METRICS)
        for arm in ARMS if number % 2 else reversed(ARMS):
            began = time.process_time()
            patch = editors[arm].edit([case.fact])
            spent = time.process_time() - began
            scores = measure(lm, items, patch, metrics=METRICS, base=before.base)
            row[f"{arm:g}"] = {"cpu": round(spent, 2), "values": values(scores)}
        return row

    return row_of


if __name__ == "__main__":
    command(lambda: measured(str(__doc__), OUT, 48, rows))
