"""`python -m tests.benchmarks.gpu OUT.json`; see the folder's docstring."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .. import command, measured
from .supervise import LIMITS, run


def main() -> None:
    """Read the arguments and run the parts."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.gpu",
        description="Measure everything on a graphics card, in at most nine minutes.",
    )
    parser.add_argument("out", type=Path, help="JSON file, written after every row")
    parser.add_argument("--scale", choices=("full", "tiny"), help="default: full on a CUDA card")
    parser.add_argument(
        "--device", help="cuda:0, cpu, or sim:0 for the simulated card of the tests"
    )
    parser.add_argument("--parts", default="".join(LIMITS), help="letters, in this order")
    parser.add_argument("--editors", default="", help="names in their order (default: all)")
    parser.add_argument("--minutes", type=float, default=9.0, help="limit of the whole run")
    given = parser.parse_args()
    card = torch.cuda.is_available()
    device = given.device or ("cuda:0" if card else "cpu")
    scale = given.scale or ("full" if device.startswith("cuda") else "tiny")
    editors = [name for name in given.editors.split(",") if name]
    run(given.out, device, scale, given.parts, editors, 60 * given.minutes)
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
