"""Facts whose answer is a paragraph: six editors on UnKE's rows, beside the unedited model.

    python -m tests.benchmarks.long_texts --data unke.json --rows 0-0 --quick      # to choose from
    python -m tests.benchmarks.long_texts --data unke.json --rows 10-21 --lines "base;ft;lora"
    python -m tests.benchmarks.long_texts --data unke.json --rows 10-19 --lines ft --batch

The data are the rows of UnKE (Deng et al., 2024, arXiv:2405.15349), as AnyEdit's repository has
them (github.com/jianghoucheng/AnyEdit, data/UnKE). They come without a license, so they are not
part of this repository, and neither are texts of theirs in the stored rows. The paragraphs are
invented. An answer is cut after the sentence with which it has 40 tokens (--tokens), since a whole
one costs three times as much, and questions about what is cut off are left out. Settings are chosen
on row 0, by teacher forcing, and rows from 10 on are reported.

Every row is edited alone on the base model, or all of them in one call with --batch. Each is asked
by its question, by the rewording and by the questions about parts of the text. The questions of
rows 26-29, which nobody edits, and eight prompts of the classroom must go on as before. The lines
take turns, row by row. Rows that are stored already are not run again, and after --minutes no
further one is begun. Results by line in long_texts.json.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lib
from lib.cli.train import span
from lib.data.facts import encode_target
from lib.evaluation import long_answers
from lib.evaluation.long_answers import common_subsequence, words
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
    "base, chat": (None, {}),  # asked in the chat template: to a bare question it says nothing
    "ft": ("ft", {}),
    "ft, 60 epochs at 1e-3": ("ft", {"epochs": 60, "lr": 1e-3}),
    "lora": ("lora", {}),
    "lora, 2e-3": ("lora", {"lr": 2e-3}),
    "wise": ("wise", {"target_eos": True}),
    "wise, 30 steps": ("wise", {"target_eos": True, "n_iter": 30}),
    "grace": ("grace", {"target_eos": True}),
    "grace, 150 steps": ("grace", {"target_eos": True, "n_iter": 150}),
    "grace, at all tokens": ("grace", {"target_eos": True, "n_iter": 150, "replacement": "all"}),
    "memit, one value": ("memit", {"chunk": 1000, **ANYEDIT}),
    "memit, chunks of 20": ("memit", {"chunk": 20, **ANYEDIT}),
    "memit, chunks of 10": ("memit", {"chunk": 10, **ANYEDIT}),
    "memit, chunks of 20, λ 100": ("memit", {"chunk": 20, **ANYEDIT, "strength": 100.0}),
    "memit, chunks of 20, MEMIT's search": ("memit", {"chunk": 20}),
    "retrieval": ("retrieval", {}),
    "retrieval, chat": ("retrieval", {}),
}


def cut(lm: lib.LM, case: lib.Case, tokens: int) -> lib.Case:
    """The case with its answer up to the sentence that completes so many tokens, 0 for the whole.

    Of the questions about parts of the text those stay whose answer's words are still in it.
    """
    kept = ""
    for sentence in re.split(r"(?<=[.!?])\s+", case.fact.target_new):
        kept = f"{kept} {sentence}".strip()
        if tokens and len(encode_target(lm.tokenizer, kept)) >= tokens:
            break
    text = words(kept)
    parts = [
        probe
        for probe in case.portability
        if common_subsequence(text, words(probe.target)) == len(words(probe.target))
    ]
    fact = replace(case.fact, target_new=kept)
    return replace(case, fact=fact, portability=tuple(parts))


def in_chat(lm: lib.LM, case: lib.Case) -> dict[str, float]:
    """The answers in the chat template, on the model as it is patched, compared as usual."""
    new = case.fact.target_new
    asked = {
        "long_answer": [long_answers.Question(case.fact.text, new)],
        "long_reworded": [long_answers.Question(prompt, new) for prompt in case.paraphrases],
        "long_part": [
            long_answers.Question(p.prompt, p.target, True) for p in case.kinds.get("part", ())
        ],
    }
    every = [question for some in asked.values() for question in some]
    said = long_answers.written(lm, every, chat=True)
    found = {}
    for metric, some in asked.items():
        pairs = [(said[question], question.wanted) for question in some]
        overlaps = [long_answers.rouge_l(*pair) for pair in pairs]
        each = {
            "rouge_l": [overlap.f1 for overlap in overlaps],
            "rouge_l_recall": [overlap.recall for overlap in overlaps],
            "token_f1": [long_answers.token_f1(*pair) for pair in pairs],
            "prefix": [long_answers.prefix(*pair) for pair in pairs],
        }
        for event, numbers in each.items():
            if numbers:
                found[f"{metric} {event}"] = round(sum(numbers) / len(numbers), 4)
    return found


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
    parser.add_argument("--tokens", type=int, default=40, help="least length, 0 for all of it")
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
    known = [case.fact.text for case in lib.classroom()[1:16:2]]
    unrelated = (*(every[i].fact.text for i in UNRELATED), *known)
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    lm = lib.load(dtype="float32")
    cases = [
        replace(cut(lm, every[i], given.tokens), id=i, locality=unrelated)
        for i in range(first, last + 1)
    ]
    base = Base(lm.identity)
    events = EVENTS[:1] if given.quick else EVENTS
    settings = {"metrics": METRICS, "events": events, "base": base}
    how = "quick" if given.quick else "batch" if given.batch else "singly"

    how = how if given.tokens else f"{how}, whole"

    def store(name: str, each: Iterable[tuple[int, dict]], seconds: float | None) -> None:
        for case, found in each:
            stored[name]["rows"][str(case)] = {"cpu_seconds": seconds, **found}
        given.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
        shown = {k: v for k, v in found.items() if "rouge_l" in k or "forced" in k}
        print(round(time.monotonic() - began), name, how, seconds, shown, flush=True)

    editors, stored = {}, {}
    for name in names:
        editor, chosen = LINES[name]
        editors[name] = lib.EDITORS[editor](lm, **chosen) if editor else None
        stored[name] = kept.setdefault(f"{name} ({how})", {
            "model": lm.name, "data": given.data.name, "date": time.strftime("%Y-%m-%d"),
            "editor": editor, "settings": chosen, "tokens": given.tokens, "rows": {},
        })  # fmt: skip
    # one line after another on the same row
    for group in [cases] if given.batch else [[case] for case in cases]:
        for name, editor in editors.items():
            some = [case for case in group if str(case.id) not in stored[name]["rows"]]
            if not some or time.monotonic() - began > 60 * given.minutes:
                continue
            begun = time.process_time()
            patch = editor.edit([case.fact for case in some]) if editor else lib.EMPTY
            seconds = round((time.process_time() - begun) / len(some), 2) if editor else None
            if name.endswith(", chat"):
                with lm.patched(patch):
                    each = [(int(case.id), in_chat(lm, case)) for case in some]
                store(name, each, seconds)
                continue
            store(name, values(lib.evaluate(lm, some, patch, **settings)), seconds)


if __name__ == "__main__":
    command(main)
