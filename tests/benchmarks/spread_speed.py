"""Seconds per edit of the locate-then-edit family, and of WISE.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.spread_speed [--facts 32] [--json OUT]

All figures come from one run. The floor of an editor is the number of multiply-adds that both
replays cannot avoid, at the rate of the products that the model makes on this processor for the
same number of rows, taken in the same run. "authors" is the CPU time per edit of the released code
(one template, layers 3, 4, 5, 20 looks) on a machine of 47 G multiply-adds per second and thread;
`per_rate` scales both by the rate of PyTorch's plain product. The stored "batched" rows, many
values searched at once and one by one, are of 2f928b6. WISE's floor is counted while it edits: all
of its matrix products, of which its replay has left out those of the layers below.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

import lib
from lib.keys_values import value_search
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

from .gpu.measure import Device, Products
from .rome_speed import EVERY_STEP, matrix_rate, multiply_adds, timed

AUTHORS = {"rate": 47e9, "memit": 4.4, "alphaedit": 4.7}  # CPU seconds per edit, one thread
SHARED = {"templates": ("{}",), "steps": 20}
EDITORS = {
    "memit": {"layers": (3, 4, 5)},
    "alphaedit": {"layers": (3, 4, 5)},
    "emmet": {"layers": (5,)},
    "pmet": {"layers": (3, 4, 5)},
    "norm_anchor": {"layers": (3, 4, 5), "anchor_n": 32},
    "rome": {"layer": 5},
}
SINGLE = 12  # facts edited one at a time
BESIDE = 4  # facts edited beside the weights, each on the unedited model


def floor(lm: lib.LM, facts: list[lib.Fact], layers: tuple[int, ...]) -> float:
    """Multiply-adds of the searches at the last layer, and of the keys and states of each layer."""
    search = sum(multiply_adds(lm, fact, layers[-1], ("{}",)) for fact in facts)
    block = sum(m.weight.numel() for m in lm.blocks[0].modules() if hasattr(m, "in_features"))
    tokens = sum(lib.data.facts.lookup(lm.tokenizer, fact)[1] + 1 for fact in facts)
    return search + len(layers) * tokens * block * (layers[-1] + 1)


def edits(lm: lib.LM, name: str, facts: list[lib.Fact]) -> dict:
    """One edit call for the facts (ROME: one after another), after a warm-up on another fact."""
    settings = EDITORS[name]
    editor = lib.EDITORS[name](lm, **SHARED, **settings)
    editor.edit(facts[:1], check=False)  # statistics, caches
    some = facts[:SINGLE] if name == "rome" else facts
    wall, cpu, _ = timed(lambda: editor.edit(some, check=False))
    layers = settings.get("layers", (settings.get("layer"),))
    rate = matrix_rate(8 * len(facts) if name != "rome" else 8, 576, 1536)
    least = floor(lm, some, layers) / rate / len(some)
    row = {"facts": len(some), "seconds": wall / len(some), "cpu": cpu / len(some), "floor": least}
    row["over_floor"] = row["cpu"] / least
    if name in AUTHORS:
        scale = matrix_rate(154, 576, 1536) / AUTHORS["rate"]
        row["rate_154"] = scale * AUTHORS["rate"]
        row["authors_over_ours_per_rate"] = AUTHORS[name] / (row["cpu"] * scale)
    return row


def wise(lm: lib.LM, facts: list[lib.Fact]) -> dict:
    """Single edits by WISE's preset; the rate is that of as many rows as its products have."""
    editor = lib.EDITORS["wise"](lm, preset="ours")
    editor.edit(facts[:1], check=False)  # C, and what it reads of the unedited model
    with Products(Device("cpu")) as products:
        for fact in facts:
            editor.edit([fact], check=False)
    wall, cpu, _ = timed(lambda: [editor.edit([fact], check=False) for fact in facts])
    least = products.count / matrix_rate(products.rows, 576, 1536) / len(facts)
    row = {"facts": len(facts), "seconds": wall / len(facts), "cpu": cpu / len(facts)}
    return row | {"floor": least, "rows": products.rows, "over_floor": row["cpu"] / least}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=32)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    facts = [case.fact for case in classroom("tables")][: given.facts]
    results: dict = {"threads": torch.get_num_threads(), "model": lm.identity}
    value_search.search(lm, facts[:1], 5, ("{}",), EVERY_STEP, "block")  # warms up
    for name in EDITORS:
        results[name] = edits(lm, name, facts)
        print(name, results[name], file=sys.stderr, flush=True)
    results["wise, preset"] = wise(lm, facts[:BESIDE])
    text = json.dumps(results, indent=1)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
        measured.record(given.json, vars(given))
    print(text)


if __name__ == "__main__":
    command(main)
