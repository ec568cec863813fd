"""The facts that a model knows: which of some cases it answers right before any edit."""

from __future__ import annotations

from ..data import as_facts
from ..data.facts import Case
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .prompt_batch import generated


def known(lm: LM, cases: as_facts.Given, patch: Patch = EMPTY) -> list[Case]:
    """The cases whose answer so far (`target_true`) the model gives by free generation, in order.

    The classroom's facts are known to the embedded model; on another one, edit only those that come
    back from here: what a model never knew cannot be unlearned, and its neighbors mean little.

    patch  with which the model is asked; the bare model by default

    Cases without `target_true` are left out. The event is `generation`: the answer begins with
    `target_true`, then a boundary.
    """
    asked = [
        (case, (case.fact.text, case.fact.target_true))
        for case in as_facts.cases(cases)
        if case.fact.target_true is not None
    ]
    with lm.patched(patch, only=True):
        answers = generated(lm, [pair for _, pair in asked])
    return [case for case, pair in asked if answers[pair][1].begins]
