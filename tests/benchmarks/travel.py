"""Do the embedded model's presets travel? Each editor's preset on draws of rows, 100 facts a draw.

    python -m tests.benchmarks.travel wise,lemoe --data zsre-600.json --rows 400-499
    python -m tests.benchmarks.travel wise --data zsre-600.json --rows 400-499 --before wise.json
    python -m tests.benchmarks.travel wise --data zsre-600.json --rows 100-199 --chosen

A preset chosen on one draw of rows fits that draw best. Here the draw's facts are written as the
editor's turns have it (`TURNS`), and all of them are asked after the last one, teacher-forced and
by generation, with the values of every case kept, so that two settings on one draw are compared in
pairs. `--chosen` marks draws on which the settings were chosen: they are shown apart and stand in
no mean. `--before FILE` takes settings, a JSON object, in place of the preset and stores them as
"before". Results by "EDITOR, preset or before, DATA ROWS" in travel.json, each stored at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import lib
from lib.editors.shared.base import asdict
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
# facts in a call; the others get all facts of a draw in one call
TURNS = {"wise": 1, "memoir": 1, "lemoe": 10, "ultraedit": 10, "alphaedit": 10}
SETTINGS: dict[str, Any] = {
    "metrics": ("efficacy", "generalization", "specificity", "locality"),
    "events": ("teacher_forced", "generation"),
}


def tuples(value: Any) -> Any:
    """Lists of a JSON file as the tuples that settings hold."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def cases_of(data: Path, rows: str) -> list[lib.Case]:
    """The cases of a file with ids from A to B, for rows "A-B"."""
    first, last = (int(end) for end in rows.split("-"))
    return [case for case in lib.read_cases(data) if first <= case.id <= last]


def values(scores: lib.Scores) -> dict[str, list[float]]:
    """{"metric event": the mean of each case's prompts}, in the order of the cases."""
    return {
        f"{metric} {event}": [round(value, 4) for value in found["mean"]]
        for (metric, event), found in scores.by_case().items()
        if event in SETTINGS["events"]
    }


def measured(
    lm: lib.LM, name: str, settings: dict[str, Any], cases: list[lib.Case], base: Any
) -> dict[str, Any]:
    """The draw written turn by turn and asked at the end, with the CPU seconds of an edit."""
    editor = lib.EDITORS[name](lm, **settings)
    patch, turn = lib.EMPTY, TURNS.get(name, len(cases))
    begun = time.process_time()
    for start in range(0, len(cases), turn):
        patch = editor.edit([case.fact for case in cases[start : start + turn]], after=patch)
    cpu = time.process_time() - begun
    return {
        "settings": {
            key: value for key, value in asdict(editor.config).items() if key != "irrelevant"
        },
        "turn": turn,
        "cpu_per_edit": round(cpu / len(cases), 3),
        "values": values(lib.evaluate(lm, cases, patch, base=base, **SETTINGS)),
    }


def store(out: Path, name: str, found: dict[str, Any]) -> None:
    """Put one result into the file, whole or not at all."""
    kept = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    part = out.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(json.dumps({**kept, name: found}) + "\n", encoding="utf-8")
    part.replace(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editors", help="names of editors, with commas between them")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", required=True, metavar="A-B")
    parser.add_argument("--chosen", action="store_true")
    parser.add_argument("--before", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # rows without a new answer are left out; facts known already
    settings = json.loads(given.before.read_text(encoding="utf-8")) if given.before else {}
    settings = {key: tuples(value) for key, value in settings.items()}
    lm, cases = lib.load(dtype="float32"), cases_of(given.data, given.rows)
    base = lib.baseline(lm, cases, **SETTINGS)
    common = {
        "date": time.strftime("%Y-%m-%d"),
        "model": lm.identity,
        "data": given.data.name,
        "rows": given.rows,
        "chosen": given.chosen,
    }
    draw = f"{given.data.name} {given.rows}"
    store(given.out, f"base, {draw}", {**common, "values": values(base.scores)})
    for name in given.editors.split(","):
        found = measured(lm, name, settings, cases, base)
        key = f"{name}, {'before' if given.before else 'preset'}, {draw}"
        store(given.out, key, {"editor": name, **common, **found})
        short = {key: round(sum(v) / len(v), 3) for key, v in found["values"].items()}
        print(key, short, found["cpu_per_edit"], flush=True)


if __name__ == "__main__":
    command(main)
