"""Products by oneDNN against PyTorch's plain ones: what lib/model/onednn_linear.py gains.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.onednn_speed [--json OUT --machine "an AMD EPYC"]

Both are taken in turn on the shapes of the embedded model (576 x 1536, head 576 x 49152), over 24
different matrices so that none stays in the cache, forward and for the gradient of the input. The
gain depends on the processor: PyTorch multiplies by MKL, which is fast on Intel's own. What the
file holds of other machines stays.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from lib.model.onednn_linear import product
from tests.benchmarks import command


def seconds(run, repeats: int) -> float:
    run(0)
    start = time.perf_counter()
    for i in range(repeats):
        run(i)
    return (time.perf_counter() - start) / repeats


def processor() -> str:
    """The processor's name, where the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def measure(rows: int, d: int, width: int, count: int, repeats: int) -> dict[str, float]:
    """Median ratio plain / oneDNN over five turns, forward and backward."""
    weights = [torch.randn(width, d) for _ in range(count)]
    x, g = torch.randn(rows, d), torch.randn(rows, width)
    ways = {
        "forward": (
            lambda i: x @ weights[i % count].T,
            lambda i: product(x, weights[i % count], None),
        ),
        "backward": (
            lambda i: g @ weights[i % count],
            lambda i: product(g, weights[i % count].T, None),
        ),
    }
    return {
        name: round(
            statistics.median(seconds(plain, repeats) / seconds(fast, repeats) for _ in range(5)), 2
        )
        for name, (plain, fast) in ways.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=processor())
    given = parser.parse_args()
    found = {"threads": torch.get_num_threads(), "processor": processor()}
    for rows in (1, 8, 36, 150, 1000):
        found[f"{rows} rows"] = measure(rows, 576, 1536, 24, max(24, 4000 // (rows + 20)))
        found[f"{rows} rows, head"] = measure(rows, 576, 49152, 1, max(2, 200 // (rows + 20)))
    print(json.dumps(found, indent=1))
    if given.json:
        old = json.loads(given.json.read_text()) if given.json.exists() else {}
        text = json.dumps({**old, given.machine: found}, indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
