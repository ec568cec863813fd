"""The floor of every metric: what a destroyed model scores, beside the unedited one.

    python -m tests.benchmarks.floors

A destroyed model has the entries of weight matrices shuffled, each matrix by itself, so that its
size and spread are what they were and nothing else is: those of the block in the middle, or of all
blocks. (Norms and the embedding stay.) It is asked everything that `evaluate` and `abilities` ask,
on the first odd-numbered classroom cases with consequences. Nothing was edited, so for efficacy and
its like the unedited model stands at the floor, too. A model that is stored is not run again.
Results in floors.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lib
from lib.atomic_files import whole_file
from lib.evaluation.abilities import abilities
from lib.evaluation.base_answers import Base
from lib.evaluation.metrics import METRICS
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")


def shuffled(lm: lib.LM, blocks: Iterable[int], seed: int = 0) -> lib.Patch:
    """A patch with the entries of all linear maps of these blocks in another order."""
    draw, new = torch.Generator().manual_seed(seed), {}
    starts = tuple(f"{lm.arch.blocks}.{block}." for block in blocks)
    for name, module in lm.model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith(starts):
            weight = lm.weight(name).cpu()  # (d_out, d_in)
            order = torch.randperm(weight.numel(), generator=draw)
            new[name] = weight.flatten()[order].view_as(weight)
    return lib.EMPTY.with_weights(new, base=lm.identity)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=16)
    parser.add_argument("--model", help="as lib.load takes it; by default the embedded one")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    lm = lib.load(given.model, dtype="float32")
    cases = [case for case in classroom("tables") if case.portability][: given.facts]
    last = lm.n_layers - 1
    variants = {
        "unedited model": (),
        f"block {last // 2 + 1} of 0 to {last} shuffled": (last // 2 + 1,),
        "all blocks shuffled": range(lm.n_layers),
    }
    base, before = Base(lm.identity), None
    stored = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    facts = [case.id for case in cases]
    result: dict[str, Any] = stored.get(lm.name, {"facts": None})
    if result["facts"] != facts:  # what was stored on the same facts is not run again
        result = {"date": time.strftime("%Y-%m-%d"), "facts": facts, "models": {}}
    for name, blocks in variants.items():
        if name in result["models"]:
            continue
        patch = shuffled(lm, blocks)
        scores = lib.evaluate(lm, cases, patch, base=base, metrics=METRICS)
        before = found = abilities(lm, patch, base=before)
        result["models"][name] = {
            "scores": json.loads(scores.summary().to_json(orient="records", double_precision=5)),
            "abilities": json.loads(found.summary().to_json(orient="records", double_precision=5)),
        }
        print(name, scores, found, sep="\n", flush=True)
        result["models"] = {n: result["models"][n] for n in variants if n in result["models"]}
        with whole_file(given.out) as part:
            part.write_text(json.dumps({**stored, lm.name: result}) + "\n", encoding="utf-8")
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
