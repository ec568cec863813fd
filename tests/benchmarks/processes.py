"""What two processes of `torchrun` share of a turn of UltraEdit, and that they get the same bits.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.processes [--facts 200] [--processes 1,2]

One turn of classroom facts on the embedded model, as published, on a CPU. Every process notes the
CPU seconds of its own for reading keys and gradients, which is shared, and for everything, which
besides has the moments and solves that each process makes by itself. CPU seconds leave out waiting,
so they say what the work of a process is, on a busy machine too. How much sooner two processes are
done depends on whether each has a core to itself, and the seconds on the clock are given beside.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import lib
from lib import distributed
from lib.keys_values import answer_gradients

from . import command
from .ultraedit_speed import SETTINGS

OUT = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[2]


def turn(lm: lib.LM, facts: list[lib.Fact], settings: dict[str, Any]) -> dict[str, Any]:
    """The turn in this process: CPU seconds, seconds on the clock, and a hash of the result."""
    editor = lib.EDITORS["ultraedit"](lm, **settings)
    editor.edit(facts[:4])  # what is made once is there now
    read, spent = answer_gradients.read, []

    def noting(*given: Any, **more: Any) -> Any:
        start = time.process_time()
        found = read(*given, **more)
        spent.append(time.process_time() - start)
        return found

    with mock.patch.object(answer_gradients, "read", noting):
        cpu, wall = time.process_time(), time.perf_counter()
        patch = editor.edit(facts)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    bits = hashlib.sha256()
    for name in sorted(patch.weights):
        bits.update(lm.weight(name, patch).contiguous().numpy().tobytes())
    return {"cpu": cpu, "reading": sum(spent), "wall": wall, "bits": bits.hexdigest()}


def worker(out: Path, count: int) -> None:
    """What every process does; its result goes to a file of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with distributed.started():
        facts = [case.fact for case in lib.classroom()][:count]
        found = turn(lib.load(dtype="float32"), facts, SETTINGS)
        (out / f"{distributed.rank()}.json").write_text(json.dumps(found))


def started(processes: int, count: int) -> list[dict[str, Any]]:
    """The results of so many processes, which `torchrun` starts."""
    with tempfile.TemporaryDirectory() as folder:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        torchrun += ["--nproc-per-node", str(processes), "-m", "tests.benchmarks.processes"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        given = [*torchrun, "--worker", folder, "--facts", str(count)]
        done = subprocess.run(given, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"torchrun ended with {done.returncode}: {done.stderr[-500:]}")
        return [json.loads((Path(folder) / f"{i}.json").read_text()) for i in range(processes)]


def main() -> None:
    """Measure, and write processes.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=200)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.facts)
        return
    rows = []
    for processes in map(int, given.processes.split(",")):
        found = started(processes, given.facts)
        one = rows[0]["bits"] if rows else found[0]["bits"]
        rows.append({
            "processes": processes, "bits": found[0]["bits"],
            "same_bits": all(each["bits"] == one for each in found),
            **{key: [each[key] for each in found] for key in ("cpu", "reading", "wall")},
        })  # fmt: skip
    result = {
        "date": time.strftime("%Y-%m-%d"), "facts": given.facts, "cores": os.cpu_count(),
        "settings": SETTINGS, "rows": rows,
    }  # fmt: skip
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    command(main)
