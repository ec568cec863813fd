"""Packed against plain products on this machine: the gain that lib/model/packed_linear.py claims.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.packed_speed [--json OUT]

Both are taken in turn on the shapes of the embedded model (576 x 1536, head 576 x 49152), over 24
different matrices so that none stays in the cache, forward and for the gradient of the input.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from lib.model.packed_linear import Pair, _linear
from tests.benchmarks import command


def seconds(run, repeats: int) -> float:
    run(0)
    start = time.perf_counter()
    for i in range(repeats):
        run(i)
    return (time.perf_counter() - start) / repeats


def measure(rows: int, d: int, width: int, count: int, repeats: int) -> dict[str, float]:
    """Median ratio plain / packed over five turns, forward and backward."""
    weights = [torch.randn(width, d) for _ in range(count)]
    pairs = [Pair(w) for w in weights]
    x, g = torch.randn(rows, d), torch.randn(rows, width)
    _linear(g, pairs[0].backward, None)
    ways = {
        "forward": (
            lambda i: x @ weights[i % count].T,
            lambda i: _linear(x, pairs[i % count].forward, None),
        ),
        "backward": (
            lambda i: g @ weights[i % count],
            lambda i: _linear(g, pairs[i % count].backward, None),
        ),
    }
    for pair in pairs:
        _linear(g, pair.backward, None)
    return {
        name: round(
            statistics.median(seconds(plain, repeats) / seconds(fast, repeats) for _ in range(5)), 2
        )
        for name, (plain, fast) in ways.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    given = parser.parse_args()
    found = {"threads": torch.get_num_threads()}
    for rows in (1, 8, 36, 150, 1000):
        found[f"{rows} rows"] = measure(rows, 576, 1536, 24, max(24, 4000 // (rows + 20)))
        found[f"{rows} rows, head"] = measure(rows, 576, 49152, 1, max(2, 200 // (rows + 20)))
    text = json.dumps(found, indent=1)
    print(text)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    command(main)
