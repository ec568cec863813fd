"""Whom a codebook would answer, by layer and radius: the sweep behind GRACE's preset.

    python -m tests.benchmarks.grace_radii --data zsre-600.json --first 500 --edits 100

Only keys are read, nothing is trained: a decision depends on keys, labels and radii alone. Shares
of cases whose edit prompt and rewording fall to an entry with their own answer, whose rewording
falls to another, and whose unrelated prompt falls to any; beside them the median distances that
decide.
"""

from __future__ import annotations

import argparse
import json
import operator
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

import lib
from lib.data.facts import encode_target
from lib.editors.grace.codebook import Codebook
from lib.model import activations
from tests.benchmarks import command

LAYERS = (12, 16, 20, 22, 25, 27)
RADII = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0)


def rows(lm: lib.LM, cases: list[lib.Case], layers=LAYERS, radii=RADII) -> Iterator[dict]:
    """One row per layer and eps_init."""
    texts = [text for case in cases
             for text in (case.fact.text, case.paraphrases[0], case.locality[0])]  # fmt: skip
    ids, _ = lm.rows(texts)
    modules = {layer: lm.mlp_out(layer) for layer in layers}
    found = activations.module_inputs_at(
        lm, ids, [len(row) - 1 for row in ids], list(modules.values())
    )
    labels = [tuple(encode_target(lm.tokenizer, case.fact.target_new)) for case in cases]
    for layer, module in modules.items():
        edit, reworded, unrelated = (found[module][i::3].float() for i in range(3))
        between = torch.cdist(edit, edit).fill_diagonal_(torch.inf).min(1).values
        distances = {
            "to_own_rewording": (edit - reworded).norm(dim=1).median(),
            "to_other_edit": between.median(),
            "to_unrelated": torch.cdist(unrelated, edit).min(1).values.median(),
        }
        for radius in radii:
            book = Codebook.empty(edit.shape[1], 1)
            value = torch.zeros(len(cases), 1)
            book.write(edit, labels, value, range(len(cases)), eps_init=radius)
            given = [
                [book.labels[entry] if entry >= 0 else None
                 for entry in book.lookup(queries).entry.tolist()]
                for queries in (edit, reworded, unrelated)
            ]  # fmt: skip
            own = [sum(map(operator.eq, some, labels)) for some in given]
            shares = {
                "prompt_own": own[0],
                "rewording_own": own[1],
                "rewording_other": sum(label is not None for label in given[1]) - own[1],
                "unrelated_any": sum(label is not None for label in given[2]),
            }
            yield {
                "layer": layer,
                "eps_init": radius,
                **{name: round(count / len(cases), 4) for name, count in shares.items()},
                **{name: round(value.item(), 2) for name, value in distances.items()},
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first", type=int, default=500)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows without a new answer are left out
        cases = lib.read_cases(given.data)
    span = range(given.first, given.first + given.edits)
    cases = [case for case in cases if case.id in span]
    table = []
    for row in rows(lm, cases):
        table.append(row)
        print(json.dumps(row), flush=True)
    if given.json:
        made = {"model": lm.identity, "cases": [c.id for c in cases], "rows": table,
                "date": time.strftime("%Y-%m-%d")}  # fmt: skip
        given.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
