"""The facts that a model knows: those cases that it answers correctly before any edit."""

from __future__ import annotations

from ..data import as_facts
from ..data.facts import Case
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .prompt_batch import generated


def known(lm: LM, cases: as_facts.Given, patch: Patch = EMPTY) -> list[Case]:
    """Return the cases whose previous answer (`target_true`) the model generates, in order.

    The default model knows the classroom's facts; when using another model, edit only the cases
    returned here: a fact that the model never knew cannot be unlearned, and its neighbors mean
    little.

    patch  applied while generating; the bare model by default

    Cases without `target_true` are left out. The success criterion is `generation`: the answer
    begins with `target_true`, then a boundary.
    """
    asked = [
        (case, (case.fact.text, case.fact.target_true))
        for case in as_facts.cases(cases)
        if case.fact.target_true is not None
    ]
    with lm.patched(patch, only=True):
        answers = generated(lm, [pair for _, pair in asked])
    return [case for case, pair in asked if answers[pair][1].begins]
