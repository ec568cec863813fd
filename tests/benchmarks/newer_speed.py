"""Seconds per edit of CrispEdit and HoReN against the multiply-adds that they cannot avoid.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.newer_speed --facts 4 --json OUT.json

One fact at a time, with the preset, and with all published steps (25 of CrispEdit, 50 of HoReN) so
that the floor has a known number of them. The floor of HoReN is GRACE's (memory_speed.py): one
forward to the layer and the steps above it at the answer alone. CrispEdit's has one forward to its
lowest layer, and in each step the blocks above forward and back, the gradients of its matrices, and
the four products per matrix that turn a gradient into coordinates and coordinates into a change.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import torch

import lib
from lib.data.facts import encode_prompt, encode_target
from tests.benchmarks import command
from tests.benchmarks.memory_speed import block_size, floor, matrix_rate

OUT = Path(__file__).with_suffix(".json")
PUBLISHED = {"crispedit": {"epochs": 25, "enough": 0.0}, "horen": {"n_iter": 50, "enough": 0.0}}


def crispedit_floor(lm: lib.LM, fact: lib.Fact, layers: tuple[int, ...], steps: int) -> int:
    """Multiply-adds of one edit."""
    target = len(encode_target(lm.tokenizer, fact.target_new))
    rows = len(encode_prompt(lm.tokenizer, fact.text)) + target - 1
    d_out, d_in = lm.weight(lm.mlp_out(layers[0])).shape
    above, head = lm.n_layers - layers[0], lm.model.get_output_embeddings().weight.numel()
    step = 2 * (rows * above * block_size(lm) + target * head)
    # gradients of the matrices, and U_sᵀ G U_a and U_s Y U_aᵀ of each
    step += len(layers) * (rows * d_out * d_in + 2 * d_out * d_in * (d_out + d_in))
    return rows * layers[0] * block_size(lm) + steps * step


def least(lm: lib.LM, name: str, fact: lib.Fact) -> int:
    """Multiply-adds of one edit with the published steps."""
    config = lib.EDITORS[name](lm, **PUBLISHED[name]).config
    if name == "crispedit":
        return crispedit_floor(lm, fact, config.layers, config.epochs)
    return floor(lm, "grace", fact, config.n_iter, ["{}"], config.layer)


def cpu(editor: lib.Editor, facts: list[lib.Fact]) -> float:
    """CPU seconds per edit, each on the base model, after a warm-up on the first fact."""
    editor.edit(facts[:1])
    start = time.process_time()
    for fact in facts[1:]:
        editor.edit([fact])
    return (time.process_time() - start) / len(facts[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=4)
    parser.add_argument("--json", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lm = lib.load(dtype="float32")
    facts = [case.fact for case in lib.classroom() if case.id % 2][: given.facts + 1]
    found: dict = {"threads": torch.get_num_threads(), "model": lm.identity}
    for name, published in PUBLISHED.items():
        for form, settings in (("published steps", published), ("preset", {})):
            row = {"facts": given.facts, "cpu": cpu(lib.EDITORS[name](lm, **settings), facts)}
            if settings:
                rate = matrix_rate(16, 576, 1536)
                some = [least(lm, name, fact) for fact in facts[1:]]
                row["floor"] = sum(some) / len(some) / rate
                row["over_floor"] = row["cpu"] / row["floor"]
            found[f"{name}, {form}"] = row
            print(name, form, row, flush=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
