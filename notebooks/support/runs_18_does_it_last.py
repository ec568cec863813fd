"""The long run of notebook 18: three draws of edits after the model has lived on.

Three lives round the model, also as runtimes do it that keep a scale for every few dozen weights; one
trains it on; in one it is edited again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import lib
from lib.errors import ProbeError

from . import runs_04_rome as runs_04
from . import stored_runs
from .runs_17_was_it_edited import LATER, ROUNDED, SHIFTED, TRAINED, Life, lives
from .score_tables import by_case
from .stored_runs import OURS

FACTS = 8  # of a draw
CONTROL = "unedited"
LINES: dict[str, tuple[str, dict[str, Any], int]] = {  # editor, what differs from its preset, batch
    "UltraEdit": ("ultraedit", OURS, FACTS),
    "GRACE": ("grace", {}, 1),
    "ROME": ("rome", runs_04.STREAM, 1),
}
LIVES = ["nothing yet", *ROUNDED, SHIFTED, "trained", "edited again"]


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
