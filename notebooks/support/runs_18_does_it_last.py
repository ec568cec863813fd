"""The long run of notebook 18: three draws of edits after the model has lived on, as in 17.

Three lives round the model, also as runtimes do it that keep a scale for every few dozen weights; one
trains it on; in one it is edited again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from torch import Tensor

import lib
from lessons import l10_1_round as exercise
from lib.data.texts import HELD_OUT
from lib.errors import ProbeError
from lib.workbench.instruments.survival import EditedAgain, Life, Trained, matrices

from . import runs_04_rome as runs_04
from . import stored_runs
from .score_tables import by_case

FACTS = 8  # of a draw
CONTROL = "unedited"
LINES: dict[str, tuple[str, dict[str, Any], int]] = {  # editor, what differs from its preset, batch
    "UltraEdit": ("ultraedit", {}, FACTS),
    "GRACE": ("grace", {}, 1),
    "ROME": ("rome", runs_04.STREAM, 1),
}
LATER = 4  # facts that are written in the life in which the model is edited again
TRAINED = {"steps": 6, "lr": 4e-4, "batch": 1}  # all matrices, on rows of 128 tokens
ROUNDED = {  # life: bits, and how many weights share a scale; None for those of a row
    "8 bits, per row": (8, None),
    "4 bits, per row": (4, None),
    "4 bits, per 64": (4, 64),
}
SHIFTED = "4 bits, own format"  # 32 weights share a scale and an offset, as the weights came
LIVES = ["nothing yet", *ROUNDED, SHIFTED, "trained", "edited again"]


def coarse(name: str, W: Tensor) -> Tensor:
    """W (d_out, d_in) as it is computed with in one of the lives that round."""
    bits, size = ROUNDED.get(name, (4, 32))
    size = math.gcd(size or W.shape[1], W.shape[1])  # a toy has fewer columns
    return (exercise.shifted if name == SHIFTED else exercise.grouped)(W, bits, size)


def rounding(name: str, lm: lib.LM, patch: lib.Patch) -> lib.Patch:
    """A life: every matrix of the blocks is rounded."""
    made = {matrix: coarse(name, lm.weight(matrix, patch)).cpu() for matrix in matrices(lm, patch)}
    return patch.with_weights(made)


def lives(seed: int, later: Sequence[lib.Fact]) -> dict[str, Life]:
    """What a draw's model goes through, each time from its edits anew."""
    found: dict[str, Life] = {name: partial(rounding, name) for name in (*ROUNDED, SHIFTED)}
    found["trained"] = Trained((HELD_OUT.read_text(encoding="utf-8"),), **TRAINED, seed=seed)
    return found | {"edited again": EditedAgain("ultraedit", tuple(later), batch=LATER)}


def own(case: lib.Case) -> lib.Case:
    """The case whose old answer is the one that is asked for."""
    old = replace(case.fact, target_new=str(case.fact.target_true), target_true=None)
    return replace(case, fact=old)


@cache
def probe(lm: lib.LM, draw: str) -> Any:
    """The probe of a draw: it was trained on no fact of this draw."""
    return lib.workbench.truth_probe(lm, lib.classroom(), without=runs_04.draws(FACTS)[draw])


def looks(
    lm: lib.LM, draw: str, cases: Sequence[lib.Case], patch: lib.Patch
) -> list[list[float]] | None:
    """Of each fact the scores of its statement with the new answer, with the old one, and with
    every other answer of its relation; None where the probe refuses.
    """
    known: dict[str, set[str]] = {}
    for case in lib.classroom():
        known.setdefault(case.relation, set()).add(str(case.fact.target_true))
    found = []
    for case in cases:
        answers = [case.fact.target_new, str(case.fact.target_true)]
        answers += sorted(known[case.relation] - {*answers})
        texts = [(case.fact.text, answer) for answer in answers]
        try:
            scores = probe(lm, draw).scores(lm, texts, patch)
        except ProbeError:
            return None
        found.append([round(score, 4) for score in scores])
    return found


def lived(
    lm: lib.LM, line: str, draw: str, cases: Sequence[lib.Case], of: dict[str, Life]
) -> Iterator[dict[str, Any]]:
    """Write a draw of facts; one row for each of LIVES.

    held  one share per fact: whether its prompt is answered by its answer, by generation
    p     the probability of the whole answer there; before a life it says how much it can lose
    looks of the first row, for page 18b: what a probe of truth says of each fact
    """
    patch, given = lib.EMPTY, cases
    if line == CONTROL:
        cases = [own(case) for case in cases]
    else:
        kind, settings, batch = LINES[line]
        editor, facts = lib.EDITORS[kind](lm, **settings), [case.fact for case in cases]
        for first in range(0, len(facts), batch):
            patch = editor.edit(facts[first : first + batch], after=patch, check=False)
    prompts = [case.fact.text for case in cases]
    answers = [case.fact.target_new for case in cases]
    for name in LIVES:
        now = of[name](lm, patch) if name in of else patch
        scores = lib.evaluate(lm, cases, now, ["generation"], metrics=())
        with lm.patched(now, only=True):
            p = [round(one.sum().exp().item(), 4) for one in lm.score(prompts, answers)]
        row = {"draw": draw, "line": line, "life": name, "p": p}
        if name not in of:
            row["looks"] = looks(lm, draw, given, patch)
        yield row | by_case(scores, {"held": "efficacy"})


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Three editors and the unedited model, on three draws of facts."""
    some = runs_04.draws(FACTS + LATER)
    kinds = {line: (lib.EDITORS[kind], more) for line, (kind, more, _) in LINES.items()}
    settings = {
        "batches": {line: batch for line, (*_, batch) in LINES.items()},
        "cases": {draw: [case.id for case in cases] for draw, cases in some.items()},
        "lives": LIVES,
        "rounded": ROUNDED,
        "trained": TRAINED,
    }
    of = {
        draw: lives(seed, [case.fact for case in cases[FACTS:]])
        for seed, (draw, cases) in enumerate(some.items())
    }
    jobs = {
        f"{draw}, {line}": partial(lived, lm, line, draw, cases[:FACTS], of[draw])
        for line in (CONTROL, *LINES)
        for draw, cases in some.items()
    }
    return [stored_runs.long_run(lm, "18_lives", kinds, jobs, **settings)]
