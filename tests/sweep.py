"""Where the defaults for the embedded model come from: a `lib.scan` per editor, recorded.

    python -m tests.sweep rome          # about 15 minutes on two cores

It writes tests/benchmarks/sweeps.json.
Only even-numbered classroom cases are used; odd ones are for reporting. A sweep that was stopped
goes on from its journal.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import lib
from lib.preset_search.scan import scan

OUT = Path(__file__).parent / "benchmarks" / "sweeps.json"
RATES = (0.1, 0.25, 0.5)
# even cases in one call, as editors of many facts are meant; scored on the first of them
BATCH = {"together": True, "facts": 40}
WINDOW = {"layers": (3, 5, 8), "widths": (1, 3, 5), "around": 0, "together": True, "facts": 24}
GRID: dict[str, dict[str, Any]] = {
    "rome": {"layers": (2, 5, 8, 11, 15, 20), "grid": {"v_lr": RATES}},
    "ft": {
        "layers": (12, 18, 22, 25, 27),
        "grid": {"lr": (1e-3, 2e-3, 5e-3)},
        "around": 0,
        **BATCH,
    },
    # fine-tuning beside the weights; each fact alone
    "lora": {
        "layers": (20, 25, 27),
        "widths": (1,),
        "grid": {"lr": (5e-4, 1e-3, 2e-3), "modules": (("down",), ("attn",))},
        "around": 0,
        "together": False,
    },
    "memit": {**WINDOW, "grid": {"strength": (500.0, 1_000.0, 3_000.0)}},
    "pmet": {**WINDOW, "grid": {"strength": (500.0, 1_000.0, 3_000.0)}},
    "emmet": {**WINDOW, "grid": {"strength": (0.0, 1_000.0, 10_000.0)}},
    "alphaedit": {
        **WINDOW,
        "grid": {"quantile": (0.5, 0.7, 0.8, 0.9), "L2": (1.0, 3.0, 10.0, 30.0)},
    },
    # the layers to choose from are all up to the given one; each fact is tried in every one of them
    "wilke": {"layers": (3, 5, 7, 9), "around": 1, "grid": {"v_lr": RATES}, "together": False},
}


def even(count: int) -> list[lib.Case]:
    return [case for case in lib.classroom() if case.id % 2 == 0][:count]


def sweep(
    name: str, count: int, settings: dict, out: Path, journal: Path | None, budget: float | None
) -> dict:
    """All stages; the rows in the order in which they were tried, and the best one."""
    options = dict(GRID[name])
    if "facts" in options:
        options["facts"] = [case.fact for case in even(options["facts"])]
    lm, cases = lib.load(dtype="float32"), even(count)
    found = scan(lm, name, cases, journal=journal, budget=budget, settings=settings, **options)
    tried = {"layer", "layers", *options["grid"]}
    result = {
        "command": f"python -m tests.sweep {name} --cases {count}"
        + "".join(f" --set {key}={json.dumps(value)}" for key, value in settings.items()),
        "model": lm.identity,
        "cases": [case.id for case in cases],
        "settings": {k: v for k, v in found.space.config.items() if k not in tried},
        "date": time.strftime("%Y-%m-%d"),
        "rows": [recorded(row) for row in found.rows],
        "best": recorded(found.best),
    }
    write(out, name, result)
    return {**result, "note": found.note, "preset": found.preset()}


def recorded(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "trial_seconds"}


def write(out: Path, name: str, found: dict) -> None:
    """Put one editor's sweep into the file, whole or not at all."""
    kept = json.loads(out.read_text()) if out.exists() else {}
    part = out.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(json.dumps({**kept, name: found}, indent=1) + "\n", encoding="utf-8")
    part.replace(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editor", choices=sorted(GRID.keys() & lib.EDITORS.keys()))
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--budget", type=float, help="seconds")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--journal", type=Path, help="default: in the folder for temporary files")
    given = parser.parse_args()
    settings = {k: json.loads(v) for k, _, v in (pair.partition("=") for pair in given.set)}
    journal = given.journal or Path(tempfile.gettempdir()) / f"sweep-{given.editor}.json"
    found = sweep(given.editor, given.cases, settings, given.out, journal, given.budget)
    journal.unlink(missing_ok=True)  # its rows are in the file now
    print(json.dumps(found["best"], indent=1), found["note"], found["preset"], sep="\n")


if __name__ == "__main__":
    main()
