"""`tune` on Gemma 3 270M from nothing, beside the presets stored for it, on held-out facts.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.tune FOLDER/presets.toml --minutes 30
    OMP_NUM_THREADS=1 python -m tests.benchmarks.tune FOLDER/presets.toml --minutes 30 --facts 24

It calls `tune`, whose minutes are counted in CPU time here, as on a machine that nobody else uses.
Then it asks `tune`'s held-out facts again with the stored presets, and `--facts` asks more of them
with both. It writes tune.json after every edit; both parts go on from where they were stopped. The
held-out facts are odd ones of the classroom, and both presets were chosen on even ones (rows.toml).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.workbench.preset_search.tune import METRICS, _Run, tune, values_of
from tests.benchmarks import measured
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_name("tune.json")
GEMMA = "gemma-3-270m"


def write(found: dict[str, Any]) -> None:
    """Put the figure into its file, whole or not at all."""
    with whole_file(OUT) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compared(run: _Run, name: str, facts: int, kept: dict[str, Any]) -> dict[str, Any]:
    """One editor's part of the figure, with up to `facts` held-out facts, or those of `tune`."""
    searched = json.loads((run.folder / f"{name}.json").read_text())
    journal = json.loads((run.folder / f"{name}.held.json").read_text())
    own = journal["settings"]["found"]
    stored = lib.EDITORS[name](run.lm).settings_dict()
    by_id = {case.id: case for case in classroom("tables", GEMMA)}
    rows = journal["rows"]
    asked = [case for row in rows for case in row["cases"]]
    size = len(rows[0]["cases"])
    more = [i for i in by_id if i not in asked][: max(0, facts - len(asked))]
    groups = [row["cases"] for row in rows]
    groups += [more[first : first + size] for first in range(0, len(more), size)]
    part = {
        "model": run.lm.identity,
        "found": own,
        "stored": json.loads(json.dumps(stored)),
        "trials": searched["rows"],
        "seconds": sum(r["trial_seconds"] for r in (*searched["rows"], *rows)),
        "held_out": kept.get("held_out", []),
    }
    for place, ids in enumerate(groups[len(part["held_out"]) :], len(part["held_out"])):
        cases = [by_id[i] for i in ids]
        settings = {"stored": stored} if place < len(rows) else {"found": own, "stored": stored}
        row = run._group(name, settings, cases)
        if place < len(rows):  # `tune` has measured the found and the default settings
            row = {
                **rows[place],
                "stored": row["stored"],
                "seconds": {**rows[place]["seconds"], **row["seconds"]},
            }
        part["held_out"].append(row)
        store(name, part)
    return part


def store(name: str, part: dict[str, Any]) -> None:
    """Store what there is of an editor."""
    write({**(json.loads(OUT.read_text()) if OUT.exists() else {}), name: part})


def lines(name: str, part: dict[str, Any]) -> list[str]:
    """The scores of the found and of the stored preset, and their paired difference, in %."""
    rows, said = part["held_out"], []
    for metric in METRICS:
        found, stored = (values_of(rows, which, metric) for which in ("found", "stored"))
        paired = [a - b for a, b in zip(found, stored, strict=True)]
        low, high = interval(paired, DIFFERENCE)
        shown = [100 * statistics.fmean(v) for v in (found, stored, paired)]
        said.append(
            f"{name} {metric}, n {len(paired)}: found {shown[0]:.0f}, stored {shown[1]:.0f}, "
            f"difference {shown[2]:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
        )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", type=Path)
    parser.add_argument("--minutes", type=float, help="of CPU time; without it `tune` has run")
    parser.add_argument("--editors", default="ultraedit,rome")
    parser.add_argument("--facts", type=int, default=0, help="at least so many held-out facts")
    given = parser.parse_args()
    lm = lib.load(GEMMA, dtype="float32")
    if given.minutes:
        # other programs on the machine take no time from this clock
        clock = SimpleNamespace(perf_counter=time.process_time, strftime=time.strftime)
        for name in ("tune", "scan"):
            vars(sys.modules[f"lib.workbench.preset_search.{name}"])["time"] = clock
        tune(lm, given.editors.split(","), None, given.minutes, given.presets, say=print)
    run = _Run(lm, given.presets, 1, False, print)
    for name in given.editors.split(","):
        kept = json.loads(OUT.read_text()).get(name, {}) if OUT.exists() else {}
        print(*lines(name, compared(run, name, given.facts, kept)), sep="\n", flush=True)
    measured.record(OUT, {"minutes": given.minutes, "facts": given.facts})


if __name__ == "__main__":
    main()
