"""Facts whose answer is a paragraph: six editors on UnKE's rows, beside the unedited model.

    python -m tests.benchmarks.long_texts --data unke.json --rows 0-1 --quick     # to choose from
    python -m tests.benchmarks.long_texts --data unke.json --rows 10-21 --lines "ft;lora"
    python -m tests.benchmarks.long_texts --data unke.json --rows 10-19 --lines ft --batch

The data are the rows of UnKE (Deng et al., 2024, arXiv:2405.15349), as AnyEdit's repository has
them (github.com/jianghoucheng/AnyEdit, data/UnKE). They come without a license, so they are not
part of this repository, and neither are texts of theirs in the stored rows. The paragraphs are
invented. Settings are chosen on rows 0-1, by teacher forcing, and rows from 10 on are reported.

Every row is edited alone on the base model, or all of them in one call with --batch. Each is asked
by its question, by the rewording and by the questions about parts of the text; the questions of
rows 26-29, which nobody edits, must get the base model's answer. Rows that are stored already are
not run again, and after --minutes no further one is begun. Results by line in long_texts.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lib
from lib.cli.train import span
from lib.evaluation.scores import Base
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
METRICS = ("efficacy", "locality", "long_answer", "long_reworded", "long_part")
EVENTS = ("teacher_forced", "generation")
UNRELATED = range(26, 30)
# AnyEdit's published search; its chunks are 40 and 50 tokens for models of 7B and 8B
ANYEDIT = {"clamp": 4.0, "decay": 1e-3, "steps": 25}
# the line -> editor and settings that are not the preset's; what was tried stands beside what is
# reported (REPORTED in tables.py)
LINES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "base": (None, {}),
    "ft": ("ft", {}),
    "ft, 60 epochs at 1e-3": ("ft", {"epochs": 60, "lr": 1e-3}),
    "lora": ("lora", {}),
    "lora, 2e-3": ("lora", {"lr": 2e-3}),
    "wise, 30 steps": ("wise", {"target_eos": True, "n_iter": 30}),
    "grace, 150 steps": ("grace", {"target_eos": True, "n_iter": 150}),
    "grace, at all tokens": ("grace", {"target_eos": True, "n_iter": 150, "replacement": "all"}),
    "memit, one value": ("memit", {"chunk": 1000, **ANYEDIT}),
    "memit, chunks of 20": ("memit", {"chunk": 20, **ANYEDIT}),
    "memit, chunks of 10": ("memit", {"chunk": 10, **ANYEDIT}),
    "memit, chunks of 20, λ 100": ("memit", {"chunk": 20, **ANYEDIT, "strength": 100.0}),
    "memit, chunks of 20, MEMIT's search": ("memit", {"chunk": 20}),
    "retrieval": ("retrieval", {}),
}


def values(scores: lib.Scores) -> Iterator[tuple[int, dict[str, float]]]:
    """The case and its mean in every metric and event, {"metric event": mean}, case by case."""
    found: dict[int, dict[str, float]] = {}
    for (metric, event), means in scores.by_case().items():
        for case, mean in means["mean"].items():
            found.setdefault(int(case), {})[f"{metric} {event}"] = round(float(mean), 4)
    yield from found.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=span, required=True)
    parser.add_argument("--lines", help="names of LINES, by default all of them", default="")
    parser.add_argument("--batch", action="store_true", help="one edit of all rows")
    parser.add_argument("--quick", action="store_true", help="teacher-forced alone")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # facts known already
    began = time.monotonic()
    names = [name.strip() for name in given.lines.split(";")] if given.lines else list(LINES)
    if unknown := set(names) - LINES.keys():
        raise ValueError(f"there is no line '{sorted(unknown)[0]}'; there are {'; '.join(LINES)}")
    every = lib.read_cases(given.data)
    first, last = given.rows
    unrelated = tuple(every[i].fact.text for i in UNRELATED)
    cases = [replace(every[i], id=i, locality=unrelated) for i in range(first, last + 1)]
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    lm = lib.load(dtype="float32")
    base = Base(lm.identity)
    events = EVENTS[:1] if given.quick else EVENTS
    settings = {"metrics": METRICS, "events": events, "base": base}
    how = "quick" if given.quick else "batch" if given.batch else "singly"

    def store(name: str, scores: lib.Scores, seconds: float | None) -> None:
        for case, found in values(scores):
            line["rows"][str(case)] = {"cpu_seconds": seconds, **found}
        given.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
        shown = {k: v for k, v in found.items() if "rouge_l" in k or "forced" in k}
        print(round(time.monotonic() - began), name, how, seconds, shown, flush=True)

    for name in names:
        editor_name, chosen = LINES[name]
        editor = lib.EDITORS[editor_name](lm, **chosen) if editor_name else None
        line = kept.setdefault(f"{name} ({how})", {
            "model": lm.name, "data": given.data.name, "date": time.strftime("%Y-%m-%d"),
            "editor": editor_name, "settings": chosen, "rows": {},
        })  # fmt: skip
        left = [case for case in cases if str(case.id) not in line["rows"]]
        groups = [left] if given.batch or editor is None else [[case] for case in left]
        for some in groups:
            if not some or time.monotonic() - began > 60 * given.minutes:
                break
            begun = time.process_time()
            patch = editor.edit([case.fact for case in some]) if editor else lib.EMPTY
            seconds = round((time.process_time() - begun) / len(some), 2) if editor else None
            store(name, lib.evaluate(lm, some, patch, **settings), seconds)


if __name__ == "__main__":
    command(main)
