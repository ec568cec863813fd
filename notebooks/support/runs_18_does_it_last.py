"""The long run of notebook 18: edits after the model is rounded, also as runtimes round it.

Runtimes that compute in four bits keep a scale for every few dozen weights, not one for a whole row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

import lib
from lib.workbench.instruments.survival import Life, Rounded

from . import runs_04_rome as runs_04
from . import stored_runs
from .score_tables import by_case

GROUP = 64  # weights that share a scale
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "UltraEdit": ("ultraedit", {}),
    "MEMIT": ("memit", {}),
    "AlphaEdit": ("alphaedit", {}),
    "ROME": ("rome", runs_04.STREAM),
    "FT-M": ("ft_m", {}),
    "GRACE": ("grace", {}),
}
OWN = "unedited, its own answers"  # the control


class Grouped(Rounded):
    """A life: rounded with a scale for every GROUP weights of a row, or fewer in a toy."""

    def rounded(self, W: Tensor) -> Tensor:
        """W (d_out, d_in) rounded, float32."""
        groups = W.reshape(-1, math.gcd(GROUP, W.shape[1]))
        return super().rounded(groups).view_as(W)


LIVES: dict[str, Life | None] = {
    "nothing yet": None,
    "8 bits": Rounded("int8"),
    "4 bits": Rounded("int4"),
    "4 bits in groups": Grouped("int4"),
}


def own(case: lib.Case) -> lib.Case:
    """The case whose old answer is the one that is asked for."""
    old = replace(case.fact, target_new=str(case.fact.target_true), target_true=None)
    return replace(case, fact=old)


def lived(lm: lib.LM, line: str, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict[str, Any]]:
    """Write a draw of facts one after another; one row for each of LIVES.

    held  one share per fact: whether its prompt is answered by its answer, by generation
    p     the probability of the whole answer there; before a life it says how much it can lose
    """
    patch = lib.EMPTY
    if line == OWN:
        cases = [own(case) for case in cases]
    else:
        kind, settings = LINES[line]
        editor = lib.EDITORS[kind](lm, **settings)
        for case in cases:
            patch = editor.edit([case.fact], after=patch, check=False)
    prompts = [case.fact.text for case in cases]
    answers = [case.fact.target_new for case in cases]
    for name, life in LIVES.items():
        now = life(lm, patch) if life else patch
        scores = lib.evaluate(lm, cases, now, ["generation"], metrics=())
        with lm.patched(now, only=True):
            p = [round(one.sum().exp().item(), 4) for one in lm.score(prompts, answers)]
        row = {"draw": draw, "line": line, "life": name, "p": p}
        yield row | by_case(scores, {"held": "efficacy"})


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Six editors and the unedited model, on three draws of facts."""
    some = runs_04.draws()
    kinds = {line: (lib.EDITORS[kind], more) for line, (kind, more) in LINES.items()}
    settings = {
        "reading": stored_runs.reading(lm),
        "editors": stored_runs.configs(lm, kinds),
        "cases": {draw: [case.id for case in cases] for draw, cases in some.items()},
        "lives": list(LIVES),
        "group": GROUP,
    }
    jobs = {
        f"{draw}, {line}": partial(lived, lm, line, draw, cases)
        for draw, cases in some.items()
        for line in (OWN, *LINES)
    }
    return [stored_runs.LongRun("18_rounded", settings, jobs)]
