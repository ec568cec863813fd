"""A thousand facts in a row: how many are still held, and what they cost the neighbors.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.thousand --data FILE --work FOLDER \
        --editors retrieval,grace,ultraedit --draws 3

A draw takes a thousand of CounterFact's rows for tables, which no choice has seen, in an order of
its own. They are written in batches of a hundred. After the last one 34 facts of the first quarter,
of the last batch and of those between are asked by generation, each with its rewordings and with
the same question about another subject, whose answer should be the unedited model's. All editors
are asked the same. A run goes on from its journal in the folder. One part of thousand.json for each
editor and draw.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import lib
from lib.atomic_files import whole_file
from lib.errors import EditWarning
from lib.lifelong.sample import sampled
from tests.benchmarks import command, measured
from tests.benchmarks.rows import of_file

OUT = Path(__file__).with_suffix(".json")
FACTS, BATCH, ASKED = 1000, 100, 34
METRICS = ("generalization", "same_relation")
EVALUATED = {"metrics": METRICS, "events": ("generation",)}


Shares = dict[str, dict[str, list[float]]]  # of each metric and group of facts


def shares(scores: lib.Scores, cases: list[lib.Case]) -> Shares:
    """The share of each fact that was asked, for each metric and group of `sampled`."""
    rows = scores.rows[scores.rows["event"] == "generation"]
    found = rows.groupby(["metric", "case"])["value"].mean()
    groups = sampled(len(cases), BATCH, ASKED)
    return {
        metric: {
            group: [round(of[cases[i].id], 4) for i in some if cases[i].id in of]
            for group, some in groups.items()
        }
        for metric in ("efficacy", *METRICS)
        for of in [found[metric].to_dict()]
    }


def written(lm: lib.LM, name: str, cases: list[lib.Case], work: Path) -> dict:
    """What one editor's stream comes to."""
    editor = lib.EDITORS[name](lm, preset="ours")
    run = lib.stream(
        lm, editor, cases, BATCH, evaluate_with=EVALUATED, journal=work, sample=ASKED
    ).finish()
    return {
        "editor": name,
        "settings": asdict(run.editor.config),
        "facts": len(cases),
        "base": shares(run.scores[0], cases),
        **shares(run.scores[len(cases)], cases),
        "contradicted": run.contradicted[len(cases)],
        "seconds": run.seconds["edit"] / len(cases),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the journals")
    parser.add_argument("--editors", default="retrieval,grace,ultraedit")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--facts", type=int, default=FACTS)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore", EditWarning)
    lm = lib.load(dtype="float32")
    every = of_file("counterfact", "tables", given.data)
    for draw in range(given.draws):
        cases = random.Random(draw).sample(every, given.facts)
        for name in given.editors.split(","):
            row = written(lm, name, cases, given.work / f"{name}-{draw}")
            kept = json.loads(given.out.read_text()) if given.out.exists() else {}
            with whole_file(given.out) as part:
                rows = {**kept, f"{name} {draw}": {**row, "draw": draw}}
                part.write_text(json.dumps(rows) + "\n")
            held = {group: f"{mean(some):.2f}" for group, some in row["efficacy"].items()}
            print(name, draw, held, f"{row['seconds']:.2f} s per edit", flush=True)
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
