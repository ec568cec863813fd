"""What follows from an edit: single edits, and the classroom's questions about their consequences.

    python -m tests.benchmarks.consequences --editors retrieval,ft_m,rome --facts 36
    python -m tests.benchmarks.consequences --editors wilke --facts 12 --minutes 10

Each fact is written alone into the base model and asked itself and the questions about it, by
generation. Only odd-numbered cases take part (even ones are for tuning), and of their questions
only those whose parts the base model answers. Facts with the most such questions come first, drawn
by seed 0 among equals, so that fewer facts are always the first ones of more. Whatever is stored is
not run again: a stopped run goes on. Results by model in consequences.json: one 0 or 1 for each
question, in the order of `questions`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.data.facts import Case
from lib.evaluation.probe_prompts import probe_items
from lib.evaluation.prompt_batch import Base
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")
ASKED = {"metrics": ("portability",), "events": ("generation",)}


def chosen(lm: lib.LM, base: Base, stored: dict[str, list], count: int) -> list[Case]:
    """The first odd cases, each with the questions that count and no others.

    stored  {case: its questions} of an earlier run, so that the model need not be asked again

    The parts of a question are known by then, so it comes without them and without its kind.
    """
    cases = [case for case in classroom("tables") if case.portability]
    if len(stored) >= count:
        asked = {int(case): {prompt for _, prompt, _ in some} for case, some in stored.items()}
        by_id = {case.id: case for case in cases}
        found = [by_id[number] for number in list(asked)[:count]]
    else:
        items = probe_items(cases, ASKED["metrics"])
        base.read(lm, items, kl_prompts=0)
        asked = {case.id: set() for case in cases}
        for item in items:
            if item.metric.name == "portability" and base.knows(item):
                asked[item.case].add(item.prompt)
        found = [case for case in cases if asked[case.id]]
        random.Random(0).shuffle(found)
        found = sorted(found, key=lambda case: -len(asked[case.id]))[:count]
        for case in found:
            some = [p for p in case.portability if p.prompt in asked[case.id]]
            stored[str(case.id)] = [[p.kind, p.prompt, p.target] for p in some]
    return [
        replace(case, portability=tuple(
            replace(p, kind=None, parts=()) for p in case.portability if p.prompt in asked[case.id]
        ))
        for case in found
    ]  # fmt: skip


def judged(lm: lib.LM, case: Case, patch: lib.Patch, base: Base) -> dict[str, Any]:
    """Whether the fact itself and each of its questions are answered with what should come."""
    rows = lib.evaluate(lm, [case], patch, base=base, **ASKED).rows
    rows = rows[rows["event"] == "generation"]
    own = rows[rows["metric"] == "efficacy"]["value"].iloc[0]
    asked = rows[rows["metric"] == "portability"].set_index("prompt")["value"]
    return {"edit": int(own), "follows": [int(asked[probe.prompt]) for probe in case.portability]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--editors", required=True)
    parser.add_argument("--facts", type=int, default=36)
    parser.add_argument("--model", help="as lib.load takes it; by default the embedded one")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    until, lm = time.monotonic() + 60 * given.minutes, lib.load(given.model, dtype="float32")
    base = Base(lm.identity)
    stored = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    run = stored.setdefault(lm.name, {"questions": {}, "base": {}, "editors": {}})
    facts = chosen(lm, base, run["questions"], given.facts)

    def write() -> None:
        with whole_file(given.out) as part:
            part.write_text(json.dumps(stored, indent=None, ensure_ascii=False) + "\n")

    for case in facts:
        if str(case.id) not in run["base"]:
            run["base"][str(case.id)] = judged(lm, case, lib.EMPTY, base)
    write()
    for name in given.editors.split(","):
        editor = lib.EDITORS[name](lm, preset="ours")
        found = run["editors"].setdefault(
            name,
            {"date": time.strftime("%Y-%m-%d"), "settings": asdict(editor.config), "facts": {}},
        )
        for case in facts:
            if str(case.id) in found["facts"] or time.monotonic() > until:
                continue
            start = time.process_time()
            patch = editor.edit([case.fact], check=False)
            seconds = time.process_time() - start
            found["facts"][str(case.id)] = {
                **judged(lm, case, patch, base), "cpu": round(seconds, 2),
            }  # fmt: skip
            write()
        said = [hit for row in found["facts"].values() for hit in row["follows"]]
        print(f"{name}: {len(found['facts'])} facts, {sum(said)} of {len(said)} follow", flush=True)
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
