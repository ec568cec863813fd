"""Make again what a release shows, on today's code: the rows that cost minutes and not hours.

    nice python -m tests.benchmarks.release --work FOLDER --data FOLDER    all of it, about an hour
    … --minutes 10                                                         as far as it gets
    python -m tests.benchmarks.release --list                              what it would do

The steps stand in the order in which a reader misses them most. Each is a program of this folder. A
step that has ended leaves a file in --work and is not run again; --minutes are CPU minutes, after
which the step that is running is stopped. --data is a folder with zsre-600.json. After the last
step `python -m tests.benchmarks.results` writes the tables. The stored runs of notebooks are made
by `python -m notebooks.build --long NN`, and seconds need a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import command


class Step(NamedTuple):
    """A program of this folder and its arguments; {work} and {data} are the two folders."""

    name: str
    words: str


STEPS = (
    Step("single", "quality classroom --editors retrieval,ft_m,rome --cases 30"),
    Step("consequences", "consequences --editors rome,ft_m,retrieval --facts 16"),
    Step("quantized", "quantized"),
)


def ended(work: Path, step: Step) -> Path:
    """The file that says that a step has ended."""
    return work / "ended" / step.name


def run(step: Step, work: Path, data: Path, seconds: float | None) -> bool:
    """Whether a step ended, after which its file is there; seconds are CPU seconds of the step."""
    program, *words = step.words.format(work=work, data=data).split()

    def limit() -> None:
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (max(1, int(seconds)),) * 2)

    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{program}", *words],
        env={"OMP_NUM_THREADS": "1", **os.environ},
        preexec_fn=limit,
        check=False,
    )
    if done.returncode > 0:
        raise ValueError(f"{step.name} failed: {step.words}")
    if done.returncode == 0:
        ended(work, step).parent.mkdir(parents=True, exist_ok=True)
        ended(work, step).touch()
    return done.returncode == 0


def used() -> float:
    """CPU seconds of all programs that were run so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    """Run the steps that have not ended, in their order."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.release", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--work", type=Path, help="folder of what is done")
    parser.add_argument("--data", type=Path, help="folder of public data files")
    parser.add_argument("--minutes", type=float, help="CPU minutes, by default as many as it takes")
    parser.add_argument("--list", action="store_true", help="print the steps and run nothing")
    given = parser.parse_args()
    if given.list:
        print("\n".join(f"{step.name:20} {step.words}" for step in STEPS))
        return
    if not (given.work and given.data):
        raise ValueError("--work and --data name the two folders that the steps need")
    for step in STEPS:
        if ended(given.work, step).exists():
            continue
        left = None if given.minutes is None else 60 * given.minutes - used()
        if left is not None and left < 1:
            break
        print(f"{step.name}: {step.words}", flush=True)
        if not run(step, given.work, given.data, left):
            break
    rest = [step.name for step in STEPS if not ended(given.work, step).exists()]
    print(f"{len(STEPS) - len(rest)} of {len(STEPS)} steps have ended", flush=True)
    print(f"next: {rest[0]}" if rest else "now: python -m tests.benchmarks.results")


if __name__ == "__main__":
    command(main)
