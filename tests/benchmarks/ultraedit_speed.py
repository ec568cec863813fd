"""UltraEdit's seconds per edit against the floor and the authors' own.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.ultraedit_speed --data zsre.json [--json OUT]

One turn of facts of a file (ZsRE, the true answer).
floor       multiply-adds of one forward pass, of the activations' gradients down to the lowest
            edited module, and of the head at label positions, at the rate of the model's products
            for that many rows in the same run
authors     their CPU seconds per edit on a machine of 47 G multiply-adds per second and thread;
            `per_rate` scales by the rate of PyTorch's plain product

The stored rows also have the released way of editing and evaluating, and one module of a 7B model
solved both ways, measured at 2f928b6 by parts that have left.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import lib
from lib.data.facts import encode_prompt, encode_target
from lib.keys_values import answer_gradients
from tests.benchmarks import command, measured
from tests.benchmarks.rows import of_file

from .rome_speed import matrix_rate, timed

AUTHORS = {"rate": 47e9, "seconds": 0.094}  # CPU per edit, one thread
GROUP = 10
SETTINGS = {  # the released code's run on this model
    "down": (18, 19, 20), "gate": (12, 13, 14), "up": (12, 13, 14), "eta": 2.5e-4, "warmup": "none",
    "repeat": 1, "reduction": "group_mean", "strength": 0.0, "keep_keys": False, "few": None,
}  # fmt: skip
Row = tuple[list[int], int]  # token ids of prompt and answer, tokens of the answer


def rows_of(lm: lib.LM, asked: list[tuple[str, str]]) -> list[Row]:
    found = []
    for prompt, answer in asked:
        end = encode_target(lm.tokenizer, answer)
        found.append(([*encode_prompt(lm.tokenizer, prompt), *end], len(end)))
    return found


def floor(lm: lib.LM, rows: list[Row], lowest: int) -> float:
    """Multiply-adds: one per weight and token forward, and again from the lowest edited layer up.

    Attention's own products are left out, which makes the floor lower than it is.
    """
    block = sum(m.weight.numel() for m in lm.blocks[0].modules() if hasattr(m, "in_features"))
    tokens, labels = sum(len(ids) - 1 for ids, _ in rows), sum(n for _, n in rows)
    head = lm.model.get_output_embeddings().weight.numel()
    return tokens * block * (2 * lm.n_layers - lowest) + 2 * labels * head


def edits(lm: lib.LM, cases: list[lib.Case]) -> dict:
    editor = lib.EDITORS["ultraedit"](lm, **SETTINGS)
    facts = [case.fact for case in cases]
    rows = rows_of(lm, [(fact.text, fact.target_new) for fact in facts])
    names = list(editor.modules())
    editor.edit(facts[:GROUP], check=False)  # caches of the first call
    ours, read = [], []
    for _ in range(3):
        ours.append(timed(lambda: editor.edit(facts, check=False))[1])
        read.append(timed(lambda: answer_gradients.read(lm, facts, names))[1])
    n, rate = len(facts), matrix_rate(answer_gradients.TOKENS, 576, 1536)
    ours, read = (sorted(times)[1] / n for times in (ours, read))
    least = floor(lm, rows, 12) / rate / n
    scale = matrix_rate(154, 576, 1536) / AUTHORS["rate"]
    return {
        "facts": n, "cpu": ours, "of_it_features": read, "floor": least, "over_floor": ours / least,
        "rate": rate, "rate_154": scale * AUTHORS["rate"],
        "authors_over_ours_per_rate": AUTHORS["seconds"] / (ours * scale),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    cases = of_file("zsre", "tables", given.data, given.facts, target="true")
    results = {"threads": torch.get_num_threads(), "model": lm.identity, "edits": edits(lm, cases)}
    text = json.dumps(results, indent=1)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
        measured.record(given.json, vars(given))
    print(text)


if __name__ == "__main__":
    command(main)
