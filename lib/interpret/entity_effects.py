"""Through which layers an answer about an entity is recalled: causal traces, beside others'.

Noise on the entity's tokens makes the model forget an answer. The clean outputs of ten MLPs in a
row, put back at the entity's last token, bring a part of it back: their indirect effect. It shows
where the answer flows, not where an edit would work best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ..data.facts import Fact
from ..data.relations import Relation, bare
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .causal_trace import trace
from .corrupted_runs import span

SEEDS = (1, 2, 3)  # noises; each is drawn anew
SAMPLES = 4  # noisy runs of each
STEP = 3  # every third layer is the middle of a window
WINDOW = 10  # layers whose MLPs are put back at once, as in ROME's figures
BESIDE = 4  # other subjects that are traced in the same way


@dataclass(frozen=True)
class Effect:
    """The indirect effect of the MLPs at the entity's last token on one answer.

    relation  the relation that was asked, in its first wording.
    answer    the first token of the model's own answer, whose probability p is followed.
    p_clean   p without noise.
    p_noisy   p with noise on the entity, the mean over all noisy runs.
    layer     the middle of the ten layers that bring most of p back.
    effect    how much they bring back, the mean over the noises: p restored − p noisy.
    low       the least of the noises' effects in this layer.
    high      the largest of them.
    usual     the largest effect in any layer for a typical other subject of the relation and its
              own answer: the median over the others; None where there is no other.
    others    how many others there are.
    """

    relation: str
    answer: str
    p_clean: float
    p_noisy: float
    layer: int
    effect: float
    low: float
    high: float
    usual: float | None
    others: int


def effects(
    lm: LM, entity: str, asked: Sequence[Relation], patch: Patch = EMPTY
) -> tuple[Effect, ...]:
    """The indirect effect for each of some relations, of the model under a patch.

    asked  the relations, in their first wording; that they are answered is the caller's to know

    Every third layer is the middle of a window. Others are traced with the first noise only.
    """
    with lm.patched(patch, only=True):
        return tuple(_effect(lm, entity.strip(), relation) for relation in asked)


def _effect(lm: LM, entity: str, relation: Relation) -> Effect:
    """The effect for one relation, under the patch that is entered."""
    runs = [_traced(lm, entity, relation, seed) for seed in SEEDS]
    answer, p_clean, _, _ = runs[0]
    means = [fmean(values) for values in zip(*(run[3] for run in runs), strict=True)]
    best = max(range(len(means)), key=means.__getitem__)
    here = [run[3][best] for run in runs]
    others = [s for s, _ in relation.answers if bare(s) != bare(entity)][:BESIDE]
    most = [max(_traced(lm, other, relation, SEEDS[0])[3]) for other in others]
    return Effect(
        relation.name,
        answer,
        p_clean,
        fmean(run[2] for run in runs),
        _middles(lm)[best],
        means[best],
        min(here),
        max(here),
        median(most) if most else None,
        len(others),
    )


def _traced(
    lm: LM, subject: str, relation: Relation, seed: int
) -> tuple[str, float, float, list[float]]:
    """(answer, p clean, p noisy, indirect effect of each window) of one subject under one noise."""
    fact = _asked(relation, subject)
    _, _, last = span(lm, fact)
    found = trace(
        lm,
        fact,
        kinds=("mlp",),
        layers=_middles(lm),
        tokens=[last],
        samples=SAMPLES,
        window=WINDOW,
        seed=seed,
    )
    return found.answer, found.p_clean, found.p_corrupted, found.indirect("mlp")[last].tolist()


def _asked(relation: Relation, subject: str) -> Fact:
    """The relation's first wording about a subject, with the subject marked in it."""
    template = relation.templates[0]
    text = relation.ask(template, subject)
    head, _, tail = template.partition("{}")
    name = text[len(head) : len(text) - len(tail)]
    return Fact(name, template, name)  # the new answer plays no part in a trace


def _middles(lm: LM) -> list[int]:
    """Every third layer."""
    return list(range(0, lm.n_layers, STEP))
