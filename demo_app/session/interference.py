"""The facts that an edit disturbs: predictions from their keys, compared with the measured effect.

A layer is a memory. Writing at key i adds the fraction ρ(i, j) of the write at key j, in the
geometry that the editor uses: whitened by the second moment of general text if it inserts in closed
form, plain if it follows a gradient. The same fraction is then measured in the patch itself.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import lib
from lib import associative_memory as memory
from lib.data.relations import bare

from .edits import patch_of
from .studio import Studio
from .subject_in_view import layers_of
from .verdicts import judged
from .views import Answer, Row
from .visitors import Session
from .worker import Job, Trouble

GROUPS = ("same question", "your edits", "other facts")  # the reason that a fact is included
MOST = 28  # number of facts


@dataclass(frozen=True)
class Victim:
    """A fact that an edit may disturb.

    fact: the other fact.
    group: the reason for including it, one of GROUPS.
    rho: predicted fraction of the write that is added at this fact's key, with its sign.
    share: the fraction measured in the patch; None if the edit left this layer unchanged.
    before, after: its answer before and after the edit.
    changed: whether it got a different answer.
    """

    fact: lib.Fact
    group: str
    rho: float
    share: float | None = None
    before: str = ""
    after: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Prediction:
    """All facts considered for one edit, those with the largest predictions first.

    fact: the fact that was written.
    editor: the editor's name in lib.EDITORS.
    layer: the layer whose keys were compared.
    victims: the other facts.
    """

    fact: lib.Fact
    editor: str
    layer: int
    victims: tuple[Victim, ...]

    @property
    def changed(self) -> tuple[int, int, int]:
        """The number of changed answers, in total and in the third with the largest predictions,
        and this third's size.
        """
        upper = self.victims[: max(1, len(self.victims) // 3)]
        return sum(v.changed for v in self.victims), sum(v.changed for v in upper), len(upper)


def measure(studio: Studio, session: Session) -> Job:
    """The effect of the visitor's last edit on other facts, compared with the keys' predictions: a
    Prediction.
    """

    def work(job: Job) -> Generator[None, None, Prediction]:
        edits = session.edits
        if not edits:
            raise Trouble("You have no edit to measure. Make one in “Try” first.")
        line, after = edits[-1].line, edits[-1].patch
        before = patch_of(edits[:-1])
        fact, layer = line.facts[0], layer_of(studio, line, before, after)
        groups = in_view(job, studio, session, fact)
        rho, shares = _shares(job, studio, [fact, *groups], line.editor, layer, before, after)
        yield
        said: list[list[Answer]] = []
        for words, patch, begin in ("Before the edit", before, 0.3), ("After it", after, 0.6):
            texts = [one.text for one in groups]
            said += studio.asker.ask(job, texts, "x", patch, words, begin, begin + 0.3)[:1]
            yield
        rows = zip(groups.items(), rho, shares, *said, strict=True)
        victims = [
            Victim(one, group, foretold, share, old.shown, new.shown, _other(one, old, new))
            for (one, group), foretold, share, old, new in rows
        ]
        victims.sort(key=lambda victim: -abs(victim.rho))
        return Prediction(fact, line.editor, layer, tuple(victims))

    return session.submit(studio.worker, work, aside=True)


def in_view(job: Job, studio: Studio, session: Session, fact: lib.Fact) -> dict[lib.Fact, str]:
    """Facts to consider: the visitor's edits, facts with the same question, and a few of every
    other kind.

    {fact: its group}, using each subject once and leaving out the edited fact's.
    """
    subject = studio.choices.subject(fact.subject or "", fact.prompt, fact.target_new)
    case, cases = studio.own_facts.with_tests(job, subject).case, studio.choices.cases.values()
    relation, (head, _, tail) = case.relation, fact.prompt.partition("{}")
    same, yours, other = GROUPS
    found = [(edit.fact, yours) for edit in session.edits]
    found += [  # for a typed fact: the same prompt about other subjects
        (lib.Fact(one.prompt.removeprefix(head).removesuffix(tail), fact.prompt, one.target), same)
        for one in (case.neighborhood if subject.typed else ())
        if one.prompt.startswith(head) and one.prompt.endswith(tail)
    ]
    found += [(one.fact, same) for one in cases if one.relation == relation][: MOST // 2]
    # fill up with facts spread evenly over the other relations
    rest = [case.fact for case in cases if case.relation != relation]
    step = max(1, len(rest) // max(1, MOST - len(found)))
    found += [(one, other) for one in rest[::step]]
    seen, chosen = {bare(fact.subject or fact.prompt)}, {}
    for one, group in found:
        if one.subject and bare(one.subject) not in seen and len(chosen) < MOST:
            seen.add(bare(one.subject))
            chosen[one] = group
    if len(chosen) < 2:
        raise Trouble("There are too few other facts to measure which of them an edit disturbs.")
    return chosen


def layer_of(studio: Studio, line: lib.Edit, before: lib.Patch, after: lib.Patch) -> int:
    """The layer whose keys to compare: the edited layer, or the first of several."""
    lm = studio.lm
    same = [k for k in after.weights if torch.equal(lm.weight(k, before), lm.weight(k, after))]
    wrote = {k: W for k, W in after.weights.items() if k not in same}
    layers = layers_of(lm, lib.Patch(wrote, base=after.base))
    if not layers:
        raise Trouble(
            f"{studio.choices.editors[line.editor][0]} does not change weights, so it cannot "
            "disturb other facts through them. Choose an editor that writes weights, such as ROME."
        )
    return layers[0]


def likeness(
    job: Job, studio: Studio, facts: Sequence[lib.Fact], editor: str, layer: int
) -> list[float]:
    """ρ between the first fact's key and each of the others, in the unedited model."""
    K, C = _keys(job, studio, facts, editor, layer, lib.EMPTY)
    return memory.interference(K[:, :1], C, K[:, 1:])[0].tolist()


def _keys(
    job: Job,
    studio: Studio,
    facts: Sequence[lib.Fact],
    editor: str,
    layer: int,
    patch: lib.Patch,
) -> tuple[Tensor, Tensor | None]:
    """The facts' keys (d_in, n) under a patch, and the second moment if the editor whitens them."""
    lm = studio.lm
    whitened = studio.choices.editor_class(editor).geometry == "whitened"
    made = studio.choices.writer(editor) if whitened else None
    with job.counting(lm, f"Reading keys in layer {layer}", 12, 0.0, 0.3):
        C = getattr(made, "wrapped", made).moment(layer) if made else None  # (d_in, d_in)
        with lm.patched(patch, only=True):
            return lm.keys(facts, layer).detach().cpu().double(), C


def _shares(
    job: Job,
    studio: Studio,
    facts: Sequence[lib.Fact],
    editor: str,
    layer: int,
    before: lib.Patch,
    after: lib.Patch,
) -> tuple[list[float], list[float | None]]:
    """For an edit of the first fact, ρ and the measured fraction for each of the other facts.

    The fraction at key k is ⟨ΔW k, ΔW k₁⟩ / ‖ΔW k₁‖², with the first fact's key k₁. If ΔW has rank
    one, this is the whole effect; for any other write it ignores the part orthogonal to ΔW k₁.
    """
    lm, name = studio.lm, studio.lm.mlp_out(layer)
    K, C = _keys(job, studio, facts, editor, layer, before)  # (d_in, 1 + n)
    rho = memory.interference(K[:, :1], C, K[:, 1:])[0].tolist()
    moved = (lm.weight(name, after) - lm.weight(name, before)).cpu().double() @ K  # (d_out, 1 + n)
    first, *others = (moved[:, 0] @ moved).tolist()
    if not all(map(math.isfinite, (first, *others))) or not first:
        return rho, [None] * len(others)
    return rho, [other / first for other in others]


def _other(fact: lib.Fact, old: Answer, new: Answer) -> bool:
    """Return whether the answer changed: from the true answer if it was given, otherwise at all."""
    row = Row("neighbor", fact.text, old.text, None, new.text)
    return judged(row, "", right=[fact.target_true] if fact.target_true else ()).good is False
