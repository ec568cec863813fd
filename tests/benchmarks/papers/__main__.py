"""The experiments of five papers on small models, or as published on your card.

    python -m tests.benchmarks.papers --paper superposition
    python -m tests.benchmarks.papers --paper superposition --model NAME --data FOLDER --scale paper

It says how long it takes and how much memory it needs before it begins (`--plan` says that alone),
goes on where it was killed, and prints the paper's figure beside each row. At the default scale
without a model the rows are those of the repository, from which `tests.benchmarks.results` writes
results/five_papers.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from notebooks.support import stored_runs
from tests.benchmarks import command

from . import figures, lemoe, superposition, ultraedit, wilke, wise
from .frame import HERE, SECOND, Experiment, Given, make, say

PAPERS = {
    "superposition": superposition,
    "ultraedit": ultraedit,
    "wilke": wilke,
    "lemoe": lemoe,
    "wise": wise,
}  # a paper is here once its experiments are
SCALES = ("tiny", "default", "paper")


def estimated(experiment: Experiment) -> str:
    """One line: what a run costs at most."""
    minutes, memory = experiment.seconds / 60, experiment.memory / 1e9
    return f"{experiment.run.name}: at most {minutes:.1f} minutes on this machine, {memory:.1f} GB"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.papers", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--paper", choices=PAPERS, required=True)
    parser.add_argument("--scale", choices=SCALES, default="default")
    parser.add_argument("--model", help="hub id or local folder; default: the two packaged models")
    parser.add_argument("--data", type=Path, help="folder with the paper's files")
    parser.add_argument("--to", type=Path, help="folder of the rows; default: papers, here")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these")
    parser.add_argument("--plan", action="store_true", help="only say what it costs")
    words = parser.parse_args(arguments)
    paper = PAPERS[words.paper]
    given = Given(words.scale, (words.model,) if words.model else (None, SECOND), words.data)
    folder = words.to or (HERE if given.stored else Path("papers"))
    experiments = paper.experiments(given)
    for experiment in experiments:
        say(estimated(experiment))
    for experiment in () if words.plan else experiments:
        try:
            path = make(experiment, folder, words.minutes, say)
        except stored_runs.OutOfTimeError as stopped:
            say(f"{stopped}; run the command again to go on")
            return
        for row in stored_runs.read(path)["rows"]:
            print(paper.shown(row))
        if given.stored and experiment.run.name == superposition.LAYERS:
            figures.save(stored_runs.read(path)["rows"])
        print(f"rows: {path}")


if __name__ == "__main__":
    command(main)
    sys.exit(0)
