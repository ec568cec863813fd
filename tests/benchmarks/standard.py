"""What one, ten and a hundred edits cost of standard benchmarks, question by question.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.standard --to FOLDER [--editors memit,ft]

Each editor writes facts of the classroom one after another with its preset. Patches stay in FOLDER.
standard.json beside this file gets whether each question is right, first of the unedited model, and
an editor that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import torch

import lib
from lib.atomic_files import whole_file
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom
from tests.benchmarks.survival import BASE, written

OUT = Path(__file__).with_suffix(".json")
LIMIT = 100
EDITS = (1, 10, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="folder of patches")
    parser.add_argument("--editors", default="memit,ft,ultraedit,grace,rome,alphaedit")
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    lm, facts = lib.load(dtype=torch.float32), [case.fact for case in classroom("tables")]
    base = lib.workbench.benchmarks(lm, limit=LIMIT)
    stored = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    stored[BASE] = {task: list(map(int, right)) for task, right in base.before.items()}
    for name in given.editors.split(","):
        for n in EDITS:
            if str(n) in stored.setdefault(name, {}):
                continue
            folder = given.to / str(n)
            folder.mkdir(parents=True, exist_ok=True)
            found = lib.workbench.benchmarks(
                lm, written(lm, name, facts[:n], folder), limit=LIMIT, base=base
            )
            groups = found.rows.groupby("task", sort=False)["edited"]
            stored[name][str(n)] = {task: list(map(int, right)) for task, right in groups}
            with whole_file(OUT) as part:
                part.write_text(json.dumps(stored) + "\n", encoding="utf-8")
            measured.record(OUT, vars(given))
            print(name, n, found, sep="\n", flush=True)


if __name__ == "__main__":
    command(main)
