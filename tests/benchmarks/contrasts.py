"""Two contrasts to editing: steering by its strength, and retrieval by its demonstrations.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.contrasts --cases 16 --minutes 12

One fact at a time, odd-numbered classroom cases, one of each relation before the second of any, by
generation. Steering adds one vector to every prompt's states, so that its only choice is how much
of it; beside it stand parts of a ROME edit, whose change has a key. Demonstrations are taken from
the even cases, which is the preset. Each case is stored when all arms have been measured on it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.evaluation.evaluate import measure
from lib.evaluation.probe_prompts import probe_items
from lib.patch.strength import scaled
from tests.benchmarks import command
from tests.benchmarks.conversation import chosen, values

OUT = Path(__file__).with_suffix(".json")
METRICS = ("efficacy", "generalization", "specificity", "locality")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=12, help="begin nothing after these")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    until = time.time() + 60 * given.minutes
    lm = lib.load(dtype="float32")
    found: dict[str, Any] = {"model": lm.fingerprint, "cases": {}}
    if given.out.exists():
        found = json.loads(given.out.read_text(encoding="utf-8"))
    for case in chosen(even=False)[: given.cases]:
        if str(case.id) in found["cases"] or time.time() > until:
            continue
        items = probe_items([case], METRICS)
        before = measure(lm, items, lib.EMPTY, ("generation",), metrics=METRICS)
        row = {"unedited model": values(before)}
        for name, patch in arms(lm, case.fact):
            scores = measure(lm, items, patch, ("generation",), before.base, metrics=METRICS)
            row[name] = values(scores)
        found["cases"][str(case.id)] = row
        found["date"] = time.strftime("%Y-%m-%d")
        with whole_file(given.out) as part:
            part.write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(case.id, {name: one["efficacy"]["generation"] for name, one in row.items()},
              flush=True)  # fmt: skip


if __name__ == "__main__":
    command(main)
