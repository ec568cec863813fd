"""MEMoE, LEMoE, and LEMoE without each of its three parts: the same facts in the same batches.

    python -m tests.benchmarks.lemoe_ablation --data zsre-600.json    # or EDIT_DATA; writes a JSON

All facts are given in one call and written in batches of `--batch`, which order planning may fill
as it likes; the others take them as they come. Beside the means stand paired differences from LEMoE
with their intervals, and how much the order of the facts moves each method. Orders can be added
later: what the file has of the same settings is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
import warnings
from pathlib import Path

import lib
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
WITHOUT = {
    "insertion": {"insert": False, "experts": 4},
    "anchors": {"routing": "hidden"},
    "order": {"order": "given"},
}
MEMOE = {**WITHOUT["insertion"], **WITHOUT["anchors"], **WITHOUT["order"], "gate": "softmax"}
VARIANTS = {"lemoe": {}, "memoe": MEMOE, **{f"lemoe - {k}": v for k, v in WITHOUT.items()}}
METRICS = ("efficacy", "generalization", "locality")  # of edit prompts at the end: retention
NAMES = {"efficacy": "retention"}


def run(lm: lib.LM, cases: list[lib.Case], given: argparse.Namespace, **settings):
    """Scores after all edits, and CPU seconds per edit."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lib.EditWarning)
        made = lib.EDITORS["lemoe"](
            lm, batch_size=given.batch, templates=("{}",), steps=given.steps, **settings
        )
        patch = made.edit([case.fact for case in cases])
    seconds = (time.process_time() - begun) / len(cases)
    scores = lib.evaluate(lm, cases, patch, events=given.events, metrics=METRICS)
    return scores, round(seconds, 3)


def means(scores: lib.Scores) -> dict:
    """{metric: {event: mean}}."""
    return {
        NAMES.get(metric, metric): {event: round(float(v), 4) for event, v in found.items()}
        for metric, found in scores.json().items()
        if metric in METRICS
    }


def differences(a: lib.Scores, b: lib.Scores) -> list[dict]:
    """Paired a − b with 95 % intervals."""
    rows = lib.compare(a, b).round(4).to_dict("records")
    return [{**row, "metric": NAMES.get(row["metric"], row["metric"])} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("EDIT_DATA"))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--edits", type=int, default=80)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--orders", type=int, default=3, help="shuffles beside the given order")
    parser.add_argument("--events", nargs="+", default=["teacher_forced"])
    parser.add_argument("--json", type=Path, default=OUT)
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the ZsRE file with --data or in EDIT_DATA")
    if given.edits <= 4 * given.batch:
        parser.error("no expert of four would be used twice: more edits, or smaller batches")
    lm = lib.load(dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows without a new answer are left out
        cases = lib.read_cases(given.data)
    span = range(given.first, given.first + given.edits)
    cases = [case for case in cases if case.id in span]
    made = {"model": lm.identity, "cases": [c.id for c in cases], "batch": given.batch,
            "steps": given.steps, "date": time.strftime("%Y-%m-%d"),
            "variants": {}, "minus_lemoe": {}, "orders": {}}  # fmt: skip
    if given.json.is_file():
        stored = json.loads(given.json.read_text(encoding="utf-8"))
        same = all(stored.get(key) == made[key] for key in ("model", "cases", "batch", "steps"))
        made = stored if same else made
    todo = VARIANTS if made["variants"].keys() != VARIANTS.keys() else {}  # differences need all
    first: lib.Scores | None = None
    for name, settings in todo.items():
        scores, seconds = run(lm, cases, given, **settings)
        made["variants"][name] = {**means(scores), "cpu_seconds_per_edit": seconds}
        if first is None:
            first = scores
        else:
            made["minus_lemoe"][name] = differences(scores, first)
        save(given.json, made, name)
    for seed in range(given.orders + 1):  # 0: as given
        for name in ("lemoe", "lemoe - order", "memoe"):
            found = made["orders"].setdefault(name, [])
            if len(found) > seed:
                continue
            shuffled = random.Random(seed).sample(cases, len(cases))
            row = made["variants"][name] if not seed else means(
                run(lm, shuffled, given, **VARIANTS[name])[0]
            )  # fmt: skip
            wanted = ("retention", "generalization", "locality")
            found.append({metric: row[metric]["teacher_forced"] for metric in wanted})
            save(given.json, made, f"{name}, order {seed}")


def save(path: Path, made: dict, note: str) -> None:
    """Write what there is so far, so that a run that is stopped leaves its rows."""
    print(note, json.dumps(made["variants"].get(note, made["orders"].get(note.split(",")[0]))))
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
