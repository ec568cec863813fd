"""Seconds per ROME edit with replay, and the floor.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.rome_speed [--cases 12] [--json OUT]

All are taken in one run, alternating, so their ratios hold on a busy machine too. The floor is the
number of multiply-adds that both replays cannot avoid, divided by the rate of the products that the
model makes on this processor, measured in the same run for these shapes. "authors" is the CPU time
of the released ROME code for the same model, template counts and number of steps (20), on a machine
of 47 G multiply-adds per second and thread by PyTorch's plain products, which that code makes;
`per_rate` scales it by their rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch
from torch.nn.functional import linear

import lib
from lib.keys_values import value_search
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

AUTHORS = {"rate": 47e9, 5: 14.4, 21: 48.0}  # CPU seconds per edit, one thread
EVERY_STEP = value_search.Search(
    enough=-1.0
)  # never stop early: 20 looks, 19 steps, as the authors' runs


def templates(count: int) -> tuple[str, ...]:
    """Contexts like those that the default model writes: nine tokens in front of the prompt."""
    words = ("city", "town", "sea", "park", "school")
    made = [f"It was a nice day in the {words[i % 5]}. {{}}" for i in range(count - 1)]
    return ("{}", *made)


def multiply_adds(lm: lib.LM, fact: lib.Fact, layer: int, given: tuple[str, ...]) -> float:
    """What 20 forward and 19 backward passes need above the edited layer, from the lookup on."""
    answers, at, _ = value_search.rows_of(lm, [fact], given, False)
    above = list(lm.blocks)[layer + 1 :]
    linear = sum(
        m.weight.numel() for block in above for m in block.modules() if hasattr(m, "in_features")
    )
    config = lm.model.config
    total = 0.0
    for row, position in zip(answers.ids, at, strict=True):
        keys = sum(range(position + 1, len(row) + 1))
        attention = 2 * keys * config.num_attention_heads * config.head_dim * len(above)
        # backward: one product per linear (inputs only), two per attention product
        total += (20 + 19) * (len(row) - position) * linear + (20 + 2 * 19) * attention
    return (
        total
        + (20 + 19)
        * (answers.labels.shape[1] + 1)
        * lm.model.get_output_embeddings().weight.numel()
    )


def matrix_rate(rows: int, d: int, width: int) -> float:
    """Multiply-adds per second of (rows, d) by (d, width), the shape of most products here.

    Seconds are those of the processor, as in all ratios here: on a machine with other work the
    clock also counts the time of others.
    """
    x, w = torch.randn(rows, d), torch.randn(width, d)
    for _ in range(5):
        linear(x, w)
    start, repeats = time.process_time(), max(20, int(1e10 / (rows * d * width)))
    for _ in range(repeats):
        linear(x, w)
    return repeats * rows * d * width / (time.process_time() - start)


def timed(run) -> tuple[float, float, torch.Tensor]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def measure(lm: lib.LM, facts: list[lib.Fact], layer: int, count: int) -> dict:
    """Medians over the facts of seconds, their ratios, and the ratio to the floor."""
    given = templates(count)
    config = lm.model.config
    table = []
    for i, fact in enumerate(facts):
        print(f"\r{count} contexts: {i + 1}/{len(facts)}", end="", file=sys.stderr)
        rows, at, _ = value_search.rows_of(lm, [fact], given, False)
        positions = sum(len(row) - p for row, p in zip(rows.ids, at, strict=True))
        rate = matrix_rate(positions, config.hidden_size, config.intermediate_size)
        wall, cpu, _ = timed(lambda f=fact: value_search.search(lm, [f], layer, given, EVERY_STEP))
        floor = multiply_adds(lm, fact, layer, given) / rate
        row = {"seconds": wall, "cpu": cpu, "floor": floor}
        table.append({**row, "rate": rate, "positions": positions})
    print(file=sys.stderr)

    def middle(value):
        return statistics.median(value(row) for row in table)

    result = {name: middle(lambda row, name=name: row[name]) for name in table[0]}
    result["over_floor"] = middle(lambda row: row["cpu"] / row["floor"])
    if count in AUTHORS:
        scale = matrix_rate(154, 576, 1536) / AUTHORS["rate"]
        result["authors_over_ours_per_rate"] = AUTHORS[count] / (result["cpu"] * scale)
        result["rate_154"] = scale * AUTHORS["rate"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--layer", type=int, default=5)
    parser.add_argument("--json")
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    facts = [case.fact for case in classroom("all")[: given.cases]]
    results = {str(n): measure(lm, facts, given.layer, n) for n in (5, 21)}
    results["threads"], results["cases"] = torch.get_num_threads(), len(facts)
    text = json.dumps(results, indent=1)
    print(text)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        measured.record(given.json, vars(given))


if __name__ == "__main__":
    command(main)
