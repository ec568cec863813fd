"""Editors on rows that no choice of theirs has seen: scores, and paired differences to one of them.

    python -m tests.benchmarks.paired mend,malmen,ft --against ft --data COUNTERFACT --batch 1
    python -m tests.benchmarks.paired "wise,wise published" --against "wise published"
        --of knowedit-zsre --data KNOWEDIT --unrelated ZSRE --points 10,100

Every batch edits the base model and is asked alone. With --points a batch edits what those before
it left, and all facts so far are asked at each point. "wise published" is the editor with the
settings of its paper. The rows are those that rows.toml has for --use. Unrelated texts are the
rows' neighbors, or with --unrelated ZsRE's questions for the arena. Results by editor, rows and
batch in paired.json (--out); what has ended is kept in a folder for temporary files, --work, and
a run that was killed goes on there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

import lib
from lib.atomic_files import whole_file
from lib.evaluation.asked_together import Base
from tests.benchmarks import command, measured
from tests.benchmarks.rows import of, of_file

OUT = Path(__file__).with_suffix(".json")
ASKED: dict[str, Any] = {
    "metrics": ("efficacy", "generalization", "specificity", "locality"),
    "events": ("probability", "teacher_forced", "generation"),
}


def alone(
    lm: lib.LM, editor: lib.Editor | None, cases: list[lib.Case], batch: int, base: Base, work: Path
) -> lib.Scores:
    """Scores over all batches, each on the base model, or of that model; `work` is their file."""
    if not work.exists():
        parts = []
        for start in range(0, len(cases), batch):
            some = cases[start : start + batch]
            patch = editor.edit([case.fact for case in some], check=False) if editor else lib.EMPTY
            parts.append(lib.evaluate(lm, some, patch, base=base, **ASKED))
        rows = pd.concat([part.rows for part in parts], ignore_index=True)
        found = json.loads(rows.to_json(orient="records", double_precision=15))
        with whole_file(work) as file:
            file.write_text(json.dumps({"rows": found, "asked": parts[0].asked}), "utf-8")
    kept = json.loads(work.read_text(encoding="utf-8"))
    return lib.Scores(pd.DataFrame(kept["rows"]), [(m, e) for m, e in kept["asked"]], "")


def stream(
    editor: lib.Editor, cases: list[lib.Case], batch: int, points: list[int], work: Path
) -> Iterator[tuple[int, lib.Scores]]:
    """Each point of a stream with its scores, 0 with the base model's; `work` is its journal."""
    run = lib.stream(
        editor.lm, editor, cases, batch, [0, *points], ASKED, journal=work, save_every=5
    )
    for row in run:
        if row["edits"] in points:
            yield from ((at, run.scores[at]) for at in (0, row["edits"]))


def rounded(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Its rows as JSON."""
    return json.loads(table.round(4).to_json(orient="records"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editors")
    parser.add_argument("--against", required=True)
    parser.add_argument("--of", default="counterfact")
    parser.add_argument("--use", default="fresh")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unrelated", type=Path)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--points", help="as 10,100")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "paired")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # facts that the model knows already
    given.work.mkdir(parents=True, exist_ok=True)
    points = [int(point) for point in (given.points or "").split(",") if point]
    cases = of_file(given.of, given.use, given.data, given.cases)
    numbers = sorted(of(given.of, given.use))[: len(cases)]
    texts = [tuple(probe.prompt for probe in case.neighborhood) for case in cases]
    if given.unrelated:
        texts = [case.locality for case in of_file("zsre", "arena", given.unrelated, len(cases))]
    cases = [replace(case, locality=some) for case, some in zip(cases, texts, strict=True)]
    lm = lib.load(dtype="float32")
    base, found = Base(lm.identity), {}
    how = f"{given.of}, {len(cases)} in {'turns' if points else 'batches'} of {given.batch}"
    how += ", with the token"  # the runs of before the embedded model had one do not say so

    def store(name: str, point: int, scores: lib.Scores, editor: lib.Editor | None) -> None:
        found[name, point] = scores
        other = None if name in ("base", given.against) else found.get((given.against, point))
        entry = {
            "date": time.strftime("%Y-%m-%d"),
            "cases": numbers[:point] if point else numbers,
            "settings": asdict(editor.config) if editor else None,
            "against": given.against,
            "scores": rounded(scores.summary()),
            "differences": rounded(lib.compare(scores, other)) if other else None,
        }
        rows = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
        rows[f"{name}, {how}" + (f", after {point}" if point else "")] = entry
        lines = [f" {json.dumps(label)}: {json.dumps(one)}" for label, one in rows.items()]
        with whole_file(given.out) as file:
            file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(name, how, point, time.strftime("%H:%M"), flush=True)

    for name in dict.fromkeys([given.against, *given.editors.split(",")]):
        plain = name.removesuffix(" published")
        editor = lib.EDITORS[plain](lm)
        if plain != name:
            editor = type(editor)(lm, editor.Config.published(lm, plain))
        said = repr((lm.identity, editor.config, cases, given.batch, points))
        work = given.work / f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
        if points:
            for point, scores in stream(editor, cases, given.batch, points, work):
                store(name if point else "base", point, scores, editor if point else None)
        else:
            said = repr((lm.identity, cases, given.batch))
            bare = given.work / f"base-{hashlib.sha256(said.encode()).hexdigest()[:8]}.json"
            store("base", 0, alone(lm, None, cases, given.batch, base, bare), None)
            file = work.with_suffix(".json")
            store(name, 0, alone(lm, editor, cases, given.batch, base, file), editor)
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
