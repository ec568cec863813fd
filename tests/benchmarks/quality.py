"""What the README's table says: quality of single edits on the embedded model, three events.

    python -m tests.benchmarks.quality classroom --editors rome,ft_m,retrieval   # odd cases only
    python -m tests.benchmarks.quality counterfact --data FILE --cases 100

Classroom: every odd-numbered case (even ones are for tuning). CounterFact: the first rows of a file
in the flat format. Each fact is edited alone on the base model. Writes quality.json beside itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import lib

OUT = Path(__file__).with_suffix(".json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=("classroom", "counterfact"))
    parser.add_argument("--editors", default="rome")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    settings = {k: json.loads(v) for k, _, v in (pair.partition("=") for pair in given.set)}
    if given.which == "classroom":
        cases = [case for case in lib.classroom() if case.id % 2 == 1][: given.cases]
    else:
        cases = lib.read_cases(given.data, limit=given.cases or 100)
    lm = lib.load(dtype="float32")
    base = None
    for name in given.editors.split(","):
        editor = lib.EDITORS[name](lm, **settings)
        scores = lib.singly(editor, cases, base=base)
        base = scores.base
        print(scores, "\n")
        for label, found in (
            (f"{given.which} {name}", scores),
            (f"{given.which} base", base.scores),
        ):
            seconds = getattr(found, "seconds", None)
            entry = {
                "title": found.title if seconds else f"base model, {len(cases)} cases, {lm.name}",
                "cases": len(cases),
                "date": time.strftime("%Y-%m-%d"),
                "settings": lib.editor.asdict(editor.config) if seconds else None,
                "seconds_median": statistics.median(seconds) if seconds else None,
                "summary": json.loads(found.summary().to_json(orient="records")),
            }
            kept = json.loads(given.out.read_text()) if given.out.exists() else {}
            given.out.write_text(json.dumps({**kept, label: entry}, indent=1) + "\n")


if __name__ == "__main__":
    main()
