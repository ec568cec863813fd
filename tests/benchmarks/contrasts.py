"""Two contrasts to editing: steering by its strength, and retrieval by its demonstrations.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.contrasts --cases 16 --minutes 12

One fact at a time, odd-numbered classroom cases, one of each relation before the second of any, by
generation. Steering adds one vector to every prompt's states, so that its only choice is how much
of it; beside it stand parts of a ROME edit, whose change has a key. Demonstrations are taken from
the even cases, which is the preset. Each case is stored when all arms have been measured on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lib
from lib.evaluation.evaluate import measure
from lib.evaluation.probe_prompts import probe_items
from lib.patch.strength import scaled
from tests.benchmarks import command
from tests.benchmarks.case_by_case import METRICS, Row, measured
from tests.benchmarks.conversation import values

OUT = Path(__file__).with_suffix(".json")
LAYERS, MULTIPLIERS = (12, 20), (1.0, 2.0, 4.0, 8.0)
PARTS = (0.25, 0.5, 0.75, 1.0)  # of a ROME edit
DEMOS = (0, 4, 8)


def arms(lm: lib.LM, fact: lib.Fact) -> Iterator[tuple[str, lib.Patch]]:
    """Every arm by its name, with the patch that it makes of one fact."""
    for layer in LAYERS:
        for multiplier in MULTIPLIERS:
            editor = lib.EDITORS["steer"](lm, layer=layer, multiplier=multiplier)
            yield f"steer, layer {layer}, multiplier {multiplier:g}", editor.edit([fact])
    whole = lib.EDITORS["rome"](lm).edit([fact])
    for part in PARTS:
        yield f"rome, strength {part:g}", scaled(lm, whole, part)
    for demos in DEMOS:
        yield f"retrieval, demos {demos}", lib.EDITORS["retrieval"](lm, demos=demos).edit([fact])


def rows(lm: lib.LM) -> Row:
    """What measures all arms on a case, after the unedited model."""

    def row_of(number: int, case: lib.Case) -> dict[str, Any]:
        items = probe_items([case], METRICS)
        before = measure(lm, items, lib.EMPTY, ("generation",), metrics=METRICS)
        row = {"unedited model": values(before)}
        for name, patch in arms(lm, case.fact):
            scores = measure(lm, items, patch, ("generation",), before.base, metrics=METRICS)
            row[name] = values(scores)
        return row

    return row_of


if __name__ == "__main__":
    command(lambda: measured(str(__doc__), OUT, 16, rows))
