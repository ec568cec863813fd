"""Trained editors against fine-tuning on rows that nobody has trained on: paired differences.

    python -m tests.benchmarks.trained malmen --data FILE --rows 0-199 --batch 10
    python -m tests.benchmarks.trained rledit --data FILE --rows 0-99 --stream

Every batch edits the base model (`--stream`: the model that the batches before it left, and all is
asked after the last). The rows' neighbors are also the text whose KL is taken. Results by editor,
rows and batch in trained.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd

import lib
from lib.cli.train import span
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
METRICS = ("efficacy", "generalization", "specificity", "locality")
EVENTS = ("probability", "teacher_forced", "generation")


def scored(
    lm: lib.LM, name: str, cases: list[lib.Case], batch: int, stream: bool
) -> tuple[lib.Scores, float]:
    """Scores of one editor ("" for the base model) over all batches, and CPU seconds per edit."""
    editor = lib.EDITORS[name](lm) if name else None
    batches = [cases[i : i + batch] for i in range(0, len(cases), batch)]
    base, patch, parts, spent = lib.evaluation.scores.Base(lm.identity), lib.EMPTY, [], 0.0
    for i, some in enumerate(batches, 1):
        begun = time.process_time()
        if editor:
            facts = [case.fact for case in some]
            patch = editor.edit(facts, after=patch if stream else lib.EMPTY)
        spent += time.process_time() - begun
        if not stream or i == len(batches):
            asked = cases if stream else some
            found = lib.evaluate(lm, asked, patch, metrics=METRICS, events=EVENTS, base=base)
            parts.append(found.rows)
    rows = pd.concat(parts, ignore_index=True)
    return lib.Scores(rows, found.asked, name or "base"), spent / len(cases)


def prompts(probes: tuple[lib.Probe, ...]) -> tuple[str, ...]:
    """Their texts."""
    return tuple(probe.prompt for probe in probes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editor")
    parser.add_argument("--against", default="ft")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", default="new", choices=("new", "true"))
    parser.add_argument("--rows", type=span, default=(0, 199))
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # facts known already
    first, last = given.rows
    cases = lib.read_cases(given.data, limit=last + 1, target=given.target)[first:]
    cases = [
        replace(c, locality=c.locality or tuple(p.prompt for p in c.neighborhood)) for c in cases
    ]
    lm = lib.load()
    runs = {
        name or "base": scored(lm, name, cases, given.batch, given.stream)
        for name in (given.editor, given.against, "")
    }
    (mine, seconds), (other, others) = runs[given.editor], runs[given.against]
    pair = lib.compare(mine, other).round(4)
    means = {
        name: {(r.metric, r.event): round(r.mean, 4) for r in scores.summary().itertuples()}
        for name, (scores, _) in runs.items()
    }
    table = [
        {
            "metric": row.metric, "event": row.event,
            **{name: found.get((row.metric, row.event)) for name, found in means.items()},
            "difference": row.difference, "low": row.low, "high": row.high,
        }
        for row in pair.itertuples()
    ]  # fmt: skip
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    how = f"turns of {given.batch}" if given.stream else f"batches of {given.batch}"
    kept[f"{given.editor}, {given.data.name} {first}-{last}, {how}"] = {
        "model": lm.identity,
        "against": given.against,
        "cpu_seconds_per_edit": {given.editor: round(seconds, 3), given.against: round(others, 3)},
        "rows": table,
    }
    given.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    command(main)
