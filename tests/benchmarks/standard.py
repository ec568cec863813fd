"""What sixty edits cost of standard benchmarks, question by question.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.standard --to FOLDER [--editors memit,ft]

The patches are those of `tests.benchmarks.survival` in the same folder. standard.json beside this
file gets whether each question is right, first of the unedited model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import lib
from lib.atomic_files import whole_file
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom
from tests.benchmarks.survival import BASE, FACTS, written

OUT = Path(__file__).with_suffix(".json")
LIMIT = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="folder of patches")
    parser.add_argument("--editors", default="memit,ft,ultraedit")
    given = parser.parse_args()
    lm, cases = lib.load(), classroom("tables")[:FACTS]
    base = lib.benchmarks(lm, limit=LIMIT)
    stored = {BASE: {task: list(map(int, right)) for task, right in base.before.items()}}
    for name in given.editors.split(","):
        patch = written(lm, name, [case.fact for case in cases], given.to)
        found = lib.benchmarks(lm, patch, limit=LIMIT, base=base)
        groups = found.rows.groupby("task", sort=False)["edited"]
        stored[name] = {task: list(map(int, right)) for task, right in groups}
        print(found, flush=True)
        with whole_file(OUT) as part:
            part.write_text(json.dumps(stored) + "\n", encoding="utf-8")
        measured.record(OUT, vars(given))


if __name__ == "__main__":
    command(main)
