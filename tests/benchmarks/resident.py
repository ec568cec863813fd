"""Resident memory of editing and evaluating the embedded model, step by step, in one process.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.resident --zsre FILE [--rows 150 12] [--out FILE]

The steps: importing, loading in float32, a MEMIT batch of ten facts by the preset (its C comes from
the cache), an evaluation of the base model and of the patch on the first rows, by scores alone and
with the perplexity, and one of fewer rows with generation, conversation and the KL.

peak       VmHWM: the most that was resident at once during the step, mapped files included, with
           the kernel's mark reset before each step
anonymous  RssAnon after the step: what the process holds itself
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import command

OUT = Path(__file__).with_suffix(".json")


def memory() -> dict[str, int]:
    """Bytes of this process: the highest since `steps` reset it, and its own at the moment."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line[:3] in ("VmH", "Rss")}
    return {"peak": 1024 * int(found["VmHWM"]), "anonymous": 1024 * int(found["RssAnon"])}


@contextmanager
def step(name: str, steps: dict[str, Any]) -> Iterator[None]:
    """Note the memory of the body under a name."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    yield
    steps[name] = memory()
    print(name, steps[name], flush=True)


def run(zsre: Path, rows: tuple[int, int]) -> dict[str, Any]:
    """All steps; nothing of the library is imported before the first."""
    steps: dict[str, Any] = {}
    with step("import", steps):
        import torch

        import lib
        from lib.evaluation.probe_prompts import METRICS
    torch.set_num_threads(1)
    with step("load", steps):
        lm = lib.load(dtype="float32")
    cases = list(lib.read_cases(zsre, limit=max(rows)))
    with step("memit, 10 facts", steps):
        patch = lib.EDITORS["memit"](lm).edit([case.fact for case in cases[:10]])
    with step(f"evaluate {rows[0]} rows, no generation", steps):
        events = ("teacher_forced", "probability")
        base = lib.baseline(lm, cases[: rows[0]], events=events)
        lib.evaluate(lm, cases[: rows[0]], patch, events, base)
    metrics = [name for name in METRICS if name != "perplexity"]
    with step(f"evaluate {rows[1]} rows, everything", steps):
        lib.evaluate(lm, cases[: rows[1]], patch, metrics=metrics)
    weights = sum(p.numel() * p.element_size() for p in lm.model.parameters())
    found = {"date": time.strftime("%Y-%m-%d"), "model": lm.identity, "weights": weights}
    return {**found, "rows": rows, "threads": torch.get_num_threads(), "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zsre", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs=2, default=(150, 12), metavar=("SCORED", "ALL"))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if min(given.rows) < 1:
        raise ValueError("take at least one row for each evaluation")
    warnings.simplefilter("ignore")
    found = run(given.zsre, tuple(given.rows))
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
