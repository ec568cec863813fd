"""A long stream on the embedded model: what is written, what is still there, what else moved.

    python -m tests.benchmarks.long_stream NAME --data counterfact.json --edits 10000 --set step=0.3
    python -m tests.benchmarks.long_stream NAME --data zsre.json --target true --edits 500

Turns of 100 facts. At every point a fixed sample of the first thousand facts and one of the last
thousand before it are asked (themselves, a rewording, an unrelated prompt against the data set's
answer), with perplexity and the relative size of the update; at the end all of both thousands.
Facts that a later one contradicts are left out from then on. Results by NAME in long_stream.json.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import lib
from lib.lifelong.sample import contradicted
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
METRICS = ("generalization", "specificity")
THOUSAND = 1000


def update(lm: lib.LM, patch: lib.Patch) -> float:
    """Mean over edited matrices of ‖ΔW‖ / ‖W‖."""
    found = [
        ((lm.weight(name, patch) - lm.weight(name)).norm() / lm.weight(name).norm()).item()
        for name in patch.weights
    ]
    return sum(found) / len(found) if found else 0.0


def scored(lm: lib.LM, cases: list[lib.Case], patch: lib.Patch) -> dict:
    """{metric: {event: value and interval}} of some cases."""
    summary = lib.evaluate(lm, cases, patch, metrics=METRICS).summary()
    return json.loads(summary.to_json(orient="records"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--editor", default="ultraedit")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", choices=("new", "true"), default="new")
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="row to begin with")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--points", default="0,500,1000,2000,3500,5000,7500,10000")
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    settings = {}
    for pair in given.set:
        name, _, value = pair.partition("=")
        value = json.loads(value)
        settings[name] = tuple(value) if isinstance(value, list) else value
    cases = lib.read_cases(given.data, limit=given.first + given.edits, target=given.target)
    cases = list(cases[given.first :])
    points = [n for n in map(int, given.points.split(",")) if n < len(cases)] + [len(cases)]
    warnings.simplefilter("ignore", lib.EditWarning)
    lm = lib.load(dtype="float32")
    editor = lib.EDITORS[given.editor](lm, **settings)
    result = {
        "date": time.strftime("%Y-%m-%d"), "model": lm.identity, "editor": given.editor,
        "settings": asdict(editor.config), "edits": len(cases), "batch": given.batch,
        "target": given.target, "rows": [given.first, given.first + len(cases) - 1], "points": [],
    }  # fmt: skip
    draw, patch, cpu, done = random.Random(0), lib.EMPTY, 0.0, 0
    first = draw.sample(range(min(THOUSAND, len(cases))), min(given.sample, len(cases)))
    while True:
        if done in points:
            gone = contradicted(cases[:done]) if done else set()
            recent = range(max(0, done - THOUSAND), done) or range(min(THOUSAND, len(cases)))
            groups = {"first": first, "last": draw.sample(recent, min(given.sample, len(recent)))}
            if done in (0, len(cases)) and len(cases) <= THOUSAND:
                groups = {"all": range(len(cases))}
            elif done in (0, len(cases)):
                groups["first thousand"] = range(min(THOUSAND, len(cases)))
                groups["last thousand"] = range(max(0, len(cases) - THOUSAND), len(cases))
            point = {"edits": done, "update": update(lm, patch), "contradicted": len(gone)}
            for group, rows in groups.items():
                some = [cases[i] for i in rows if i not in gone and (i < done or not done)]
                if some:
                    point[group] = scored(lm, some, patch)
            with lm.patched(patch):
                point["perplexity"] = lib.perplexity(lm)
            point["cpu_per_edit"] = cpu / done if done else None
            result["points"].append(point)
            kept = json.loads(given.out.read_text()) if given.out.exists() else {}
            given.out.write_text(json.dumps({**kept, given.name: result}, indent=1) + "\n")
            said = {
                f"{g} {row['metric'][:5]} {row['event'][:4]}": round(row["mean"], 3)
                for g in groups if g in point for row in point[g]
                if row["mean"] is not None
            }  # fmt: skip
            print(done, round(point["perplexity"], 2), round(point["update"], 3), said, flush=True)
        if done == len(cases):
            break
        start = time.process_time()
        facts = [case.fact for case in cases[done : done + given.batch]]
        patch = editor.edit(facts, after=patch)
        cpu, done = cpu + time.process_time() - start, done + len(facts)
    print(f"{cpu / done:.4f} CPU seconds per edit")


if __name__ == "__main__":
    command(main)
