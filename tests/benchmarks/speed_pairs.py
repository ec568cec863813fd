"""The speed benchmarks of the editors twice in one run: alone, and with one more process beside.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.speed_pairs --data zsre.json [--json OUT]

`rome_speed`, `spread_speed`, `ultraedit_speed` and `memory_speed` run one after another, first on
the machine as it is and then beside one process that multiplies matrices of 1536 x 1536 all the
time. Each of them measures the matrix rate in its own run, so the ratios of a run say what the
neighbor changes. A machine is quiet where the load before the first run is near zero; it is stored.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
BUSY = "import torch\ntorch.set_num_threads(1)\nx = torch.randn(1536, 1536)\nwhile True: x @ x"


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")


@contextmanager
def neighbor(wanted: bool) -> Iterator[None]:
    """A process that is busy with matrix products while the body runs, where one is wanted."""
    beside = subprocess.Popen([sys.executable, "-c", BUSY]) if wanted else None
    try:
        yield
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()


def measured(data: Path, cases: int, folder: Path) -> dict[str, Any]:
    """What each of the four benchmarks finds in a process of its own."""
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    for name, given in {
        "rome_speed": ("--cases", str(cases)),
        "spread_speed": (),
        "ultraedit_speed": ("--data", str(data)),
        "memory_speed": (),
    }.items():
        file = folder / f"{name}.json"
        line = [sys.executable, "-m", f"tests.benchmarks.{name}", *given, "--json", str(file)]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        found[name] = json.loads(file.read_text(encoding="utf-8"))
        print(name, "done", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="ZsRE rows, for UltraEdit")
    parser.add_argument("--cases", type=int, default=4, help="facts for ROME")
    parser.add_argument("--json", type=Path, default=OUT)
    given = parser.parse_args()
    if not given.data.is_file():  # said now, not after the first program's minutes
        raise ValueError(f"there is no file {given.data}")
    result: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "threads": 1}
    for name, beside in {"quiet": False, "one other process beside": True}.items():
        with tempfile.TemporaryDirectory() as folder, neighbor(beside):
            result[name] = measured(given.data.resolve(), given.cases, Path(folder))
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
