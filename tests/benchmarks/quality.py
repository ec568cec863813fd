"""What the README's tables say: quality of edits on a packaged model, three events.

    python -m tests.benchmarks.quality classroom --editors rome,ft_m,retrieval   # odd cases only
    python -m tests.benchmarks.quality classroom --editors rome --model gemma-3-270m --cases 45
    python -m tests.benchmarks.quality counterfact --data FILE --cases 100
    python -m tests.benchmarks.quality classroom --editors memit,alphaedit --cases 100 --batch 10
    python -m tests.benchmarks.quality classroom --editors horen --cases 20 --tag ", 20 cases"

Classroom: every odd-numbered case that the model knows (even ones are for tuning). CounterFact: the
first rows of the flat file that rows.toml has for the tables. Without --batch each fact is edited
alone on the base model; with it all are edited one batch after another and measured at the end.
Writes quality.json beside itself; rows of one name take the place of those before, so that a run on
other cases has a --tag. The rows are of our form of each editor; `--set preset=null` takes its
default. With --work a run of single edits keeps every five of them in that folder,
and a later one goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from pathlib import Path

import pandas as pd

import lib
from lib.atomic_files import whole_file
from lib.evaluation.answers import EVENTS
from lib.evaluation.evaluate import measure
from lib.evaluation.metrics import asked, counted
from lib.evaluation.probe_prompts import probe_items
from lib.evaluation.single_edits import QUICK
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom, of_file

OUT = Path(__file__).with_suffix(".json")
PART = 5  # single edits between two files of a run that is kept


def together(editor: lib.Editor, cases: list[lib.Case], batch: int) -> tuple[lib.Scores, ...]:
    """Scores after the last batch and of the base model, both on all cases."""
    run = lib.stream(
        editor.lm, editor, cases, batch, evaluate_with={"metrics": (*QUICK, "perplexity")}
    ).finish()
    scores, before = run.scores[len(cases)], run.scores[0]
    scores.seconds = [row["seconds"] / batch for row in run.rows]
    scores.title = f"{editor.name}, {len(cases)} edits in batches of {batch}, {editor.lm.name}"
    return scores, before


def alone(editor: lib.Editor, cases: list[lib.Case], work: Path) -> tuple[lib.Scores, lib.Scores]:
    """What `lib.singly` gives, and the base model's scores, PART cases at a time, each part a file.

    The test prompts are those of all cases: another question about a subject is that of another
    case.
    """
    # a part is of one model, of the same settings and of the same cases
    said = (editor.lm.identity, editor.config, [case.id for case in cases])
    digest, lm = hashlib.sha256(repr(said).encode()).hexdigest()[:8], editor.lm
    items = probe_items(cases, QUICK)
    parts = []
    for start in range(0, len(cases), PART):
        path = work / f"{lm.name}-{editor.name}-{digest}-{start}.json"
        if not path.exists():
            some = cases[start : start + PART]
            own = {case.id: [item for item in items if item.case == case.id] for case in some}
            before = measure(lm, [i for part in own.values() for i in part], metrics=QUICK)
            tables, seconds = [], []
            for case in some:
                begun = time.perf_counter()
                patch = editor.edit([case.fact], check=False)
                seconds.append(time.perf_counter() - begun)
                found = measure(lm, own[case.id], patch, metrics=QUICK, base=before.base)
                tables.append(found.rows)
            rows = [
                json.loads(table.to_json(orient="records", double_precision=15))
                for table in (pd.concat(tables), before.rows)
            ]
            with whole_file(path) as part:
                part.write_text(json.dumps({"rows": rows, "seconds": seconds}) + "\n")
        parts.append(json.loads(path.read_text()))
    lines = [item.metric for item in items]
    scores, base = (
        lib.Scores(
            pd.DataFrame([row for part in parts for row in part["rows"][i]]),
            asked(QUICK, EVENTS, lines),
            "",
            counted=counted(lines),
        )
        for i in (0, 1)
    )
    scores.title = f"{editor.name}, {len(cases)} single edits, each on the base model, {lm.name}"
    scores.seconds = [seconds for part in parts for seconds in part["seconds"]]
    return scores, base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=("classroom", "counterfact"))
    parser.add_argument("--editors", default="rome")
    parser.add_argument("--model", help="default: the embedded model")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--work", type=Path, help="folder in which single edits are kept")
    parser.add_argument("--tag", default="", help="ends the names of the rows, as ', 20 cases'")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    settings = {k: json.loads(v) for k, _, v in (pair.partition("=") for pair in given.set)}
    if given.which == "classroom":
        cases = classroom("tables", given.model)[: given.cases]
    else:
        cases = of_file("counterfact", "tables", given.data, given.cases or 100)
    lm = lib.load(given.model, dtype="float32")
    of = (f", {lm.name}" if given.model else "") + given.tag
    base = None
    for name in given.editors.split(","):
        editor = lib.EDITORS[name](lm, **{"preset": "ours", **settings})
        which = given.which + (f" {len(cases)} by {given.batch}" if given.batch else "")
        if given.batch:
            scores, before = together(editor, cases, given.batch)
        elif given.work:
            scores, before = alone(editor, cases, given.work)
        else:
            scores = lib.singly(editor, cases, base=base)
            before, base = scores.base.scores, scores.base
        for label, found in ((f"{which} {name}{of}", scores), (f"{which} base{of}", before)):
            seconds = getattr(found, "seconds", None)
            entry = {
                "title": found.title if seconds else f"base model, {len(cases)} cases, {lm.name}",
                "cases": len(cases),
                "date": time.strftime("%Y-%m-%d"),
                "settings": lib.editors.shared.base.asdict(editor.config) if seconds else None,
                "seconds_median": statistics.median(seconds) if seconds else None,
                "perplexity": found.perplexity,
                "summary": json.loads(found.summary().to_json(orient="records")),
            }
            kept = json.loads(given.out.read_text()) if given.out.exists() else {}
            given.out.write_text(json.dumps({**kept, label: entry}, indent=1) + "\n")
        print(scores, "\n")
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
