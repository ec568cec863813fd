"""What is left of sixty edits when the model lives on, for every editor, by generation.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.survival --to FOLDER [--editors rome,ft]
    … --model gemma-3-270m --lives bfloat16 int8    another model, in a file of its own

Each editor writes the same sixty facts of the classroom, one after another, with its preset. Then
the model is rounded, trained on the library's general text (which the model itself wrote), with
adapters and in all matrices, or given forty more facts by UltraEdit. Patches stay in FOLDER.
survival.json beside this file gets the value of each fact after each life.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch

import lib
from lib.atomic_files import whole_file
from lib.data.texts import GENERAL
from lib.workbench.instruments.survival import (
    EVENT,
    ROUNDINGS,
    EditedAgain,
    Rounded,
    Survival,
    Trained,
    survive,
)
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")
FACTS, LATER = 60, 40
METRICS = ("efficacy", "generalization")
STEPS = 30
BASE = "base"  # the row of the unedited model
OWN = "own"  # and of its own answers to the same facts


def lives(later: tuple[lib.Fact, ...]) -> dict:
    """The lives of the table."""
    texts = (GENERAL.read_text(encoding="utf-8"),)
    return {
        **{name: Rounded(name) for name in ROUNDINGS},
        "trained": Trained(texts, STEPS),
        "trained, LoRA": Trained(texts, STEPS, lr=1e-4, rank=8),
        f"{LATER} more edits": EditedAgain("ultraedit", later),
    }


def written(lm: lib.LM, name: str, facts: list[lib.Fact], folder: Path) -> lib.Patch:
    """The patch of an editor, made once."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        editor, patch = lib.EDITORS[name](lm), lib.EMPTY
        for fact in facts:
            patch = editor.edit([fact], after=patch, check=False)
        patch.save(path)
    return lib.Patch.load(path)


def turned(fact: lib.Fact) -> lib.Fact:
    """The fact with its old answer as the one that is asked for."""
    return replace(fact, target_new=str(fact.target_true), target_true=fact.target_new)


def values(found: Survival, which: int) -> dict:
    """{life: {metric: the value of each fact}} of the edited (0) or the unedited model (1)."""
    shown = {}
    for life, both in found.scores.items():
        by_case = both[which].by_case()
        shown[life] = {
            metric: [round(value, 4) for value in by_case[metric, EVENT]["mean"]]
            for metric in METRICS
            if (metric, EVENT) in by_case
        }
    return shown


def store(out: Path, rows: dict, given: argparse.Namespace) -> None:
    """Write the rows, and where they were measured."""
    with whole_file(out) as part:
        part.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    measured.record(out, vars(given))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="folder of patches")
    parser.add_argument("--editors", default="ultraedit,ft,memit,alphaedit,rome,lora,ft_m")
    parser.add_argument("--model", help="a packaged model; the embedded one if left out")
    cases = classroom("tables")
    some, later = cases[:FACTS], tuple(case.fact for case in cases[FACTS : FACTS + LATER])
    wanted = lives(later)
    parser.add_argument("--lives", nargs="+", choices=list(wanted), default=list(wanted))
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    given.to.mkdir(parents=True, exist_ok=True)
    out = OUT.with_stem(f"survival-{given.model}") if given.model else OUT
    lm = lib.load(given.model, dtype=torch.float32)
    wanted = {life: wanted[life] for life in given.lives}
    stored = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    plain: Survival | None = None
    # what the model says of the same facts without an edit, after each life
    held = stored.setdefault(OWN, {"values": {}})["values"]
    if fresh := {life: made for life, made in wanted.items() if life not in held}:
        own = [replace(case, fact=turned(case.fact)) for case in some]
        held |= values(survive(lm, lib.EMPTY, own, fresh, METRICS), 1)
        store(out, stored, given)
    for name in given.editors.split(","):
        start = time.process_time()
        patch = written(lm, name, [case.fact for case in some], given.to)
        found = survive(lm, patch, some, wanted, METRICS, plain)
        plain = plain or found
        for row, which in ((BASE, 1), (name, 0)):  # lives of an earlier run stay
            stored.setdefault(row, {"values": {}})["values"] |= values(found, which)
        stored[name]["cpu"] = round(time.process_time() - start)
        store(out, stored, given)
        print(f"{name}, {stored[name]['cpu']} CPU s\n{found}", flush=True)


if __name__ == "__main__":
    command(main)
