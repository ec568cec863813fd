"""Do the embedded model's presets travel? Each editor's preset on draws of rows, 100 facts a draw.

    python -m tests.benchmarks.travel wise,lemoe --data zsre-600.json --rows 400-499
    python -m tests.benchmarks.travel wise --data zsre-600.json --rows 100-199 --chosen
    python -m tests.benchmarks.travel memit --data zsre-600.json --rows 400-499 --set clamp=4.0

A preset chosen on one draw of rows fits that draw best. Here the draw's facts are written as the
editor's turns have it (`TURNS`), and all of them are asked after the last one, teacher-forced and
by generation, with the values of every case kept, so that two settings on one draw are compared in
pairs. A run stops after `--minutes` and goes on when it is called again. `--chosen` marks draws
that a setting is chosen on: they stand together in the table of what was tried, and in no other.
`--set` changes one setting of the preset and stores the run under it. What stands there as
"before" is an earlier preset.
Results by "EDITOR, preset or settings, DATA ROWS" in travel.json, each stored at its end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
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
    "metrics": ("efficacy", "generalization", "locality"),
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


class Unfinished(Exception):
    """The time was up; the next call goes on from the patch that was saved."""


def written(
    lm: lib.LM, name: str, settings: dict[str, Any], cases: list[lib.Case], until: float
) -> tuple[lib.Patch, dict[str, Any]]:
    """The patch after the draw's last turn, and what is to be said about it.

    Every ten turns the patch is saved in the folder for temporary files, from where a run that was
    stopped goes on. Raises Unfinished when the clock has passed `until`.
    """
    editor = lib.EDITORS[name](lm, **settings)
    turn = TURNS.get(name, len(cases))
    about = {
        "settings": {key: v for key, v in asdict(editor.config).items() if key != "irrelevant"},
        "turn": turn,
    }
    label = json.dumps([lm.identity, name, about, [case.fact.text for case in cases]])
    digest = hashlib.sha256(label.encode()).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / f"travel-{name}-{digest}.safetensors"
    spent = file.with_suffix(".json")
    patch, cpu = lib.EMPTY, 0.0
    if file.exists() and spent.exists():
        patch, cpu = lib.Patch.load(file), json.loads(spent.read_text(encoding="utf-8"))
    for start in range(len(patch.facts), len(cases), turn):
        begun = time.process_time()
        patch = editor.edit([case.fact for case in cases[start : start + turn]], after=patch)
        cpu += time.process_time() - begun
        if start // turn % 10 == 9 or start + turn >= len(cases):
            patch.save(file)
            spent.write_text(json.dumps(cpu), encoding="utf-8")
            if time.time() > until:
                raise Unfinished(f"{name} has written {len(patch.facts)} facts; call again")
    return patch, {**about, "cpu_per_edit": round(cpu / len(cases), 3)}


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
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--minutes", type=float, default=9.0, help="then stop, to be called again")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # rows without a new answer are left out; facts known already
    named = (text.partition("=") for text in given.set)
    settings = {name: tuples(json.loads(value)) for name, _, value in named}
    kind = " ".join(sorted(given.set)) or "preset"
    lm, cases = lib.load(dtype="float32"), cases_of(given.data, given.rows)
    common = {
        "date": time.strftime("%Y-%m-%d"),
        "model": lm.identity,
        "data": given.data.name,
        "rows": given.rows,
        "chosen": given.chosen,
    }
    draw, base = f"{given.data.name} {given.rows}", None
    until = time.time() + 60 * given.minutes
    for name in given.editors.split(","):
        if time.time() > until:
            print(f"{name} and those after it were not begun; call again with them")
            break
        try:
            patch, about = written(lm, name, settings, cases, until)
        except Unfinished as stopped:
            print(stopped)
            break
        if base is None:
            base = lib.baseline(lm, cases, **SETTINGS)
            store(given.out, f"base, {draw}", {**common, "values": values(base.scores)})
        found = values(lib.evaluate(lm, cases, patch, base=base, **SETTINGS))
        key = f"{name}, {kind}, {draw}"
        store(given.out, key, {"editor": name, **common, **about, "values": found})
        means = {key: round(sum(v) / len(v), 3) for key, v in found.items()}
        print(key, means, about["cpu_per_edit"], flush=True)


if __name__ == "__main__":
    command(main)
