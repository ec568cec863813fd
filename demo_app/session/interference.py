"""Which facts an edit will disturb: predicted from keys before it is made, measured afterwards.

A layer is a memory. Writing at key i puts the share ρ(i, j) of the write on key j, in the geometry
the editor uses: whitened by the second moment of general text where it inserts in closed form, the
plain one where it follows a gradient. Afterwards the same share is read from the patch itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

import lib
from lib import memory
from lib.evaluation.answers import begins
from lib.patch.patch import LowRank

from .asking import divergence
from .views import Answer, Subject
from .worker import Job, Trouble

if TYPE_CHECKING:
    from .studio import Studio
    from .visitors import Session

MOST = 28  # facts in view
GROUPS = ("same question", "your edits", "other facts")
WHITENED = (
    "rome", "wilke", "memit", "norm_anchor", "emmet", "alphaedit", "pmet", "rect", "prune",
)  # fmt: skip


@dataclass(frozen=True)
class Victim:
    """A fact that an edit may disturb.

    rho: predicted share of the write that lands on its key; share: the same, measured; own: the
    write that lands, predicted, as a part of what the layer puts out there itself; kl: change of
    its next token in nats; changed: whether its answer is another one.
    """

    fact: lib.Fact
    group: str
    rho: float
    own: float | None = None
    share: float | None = None
    kl: float | None = None
    before: str = ""
    after: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Prediction:
    """All facts in view for one edit, the most disturbed first; measured once the edit is live."""

    fact: lib.Fact
    editor: str
    layer: int
    victims: tuple[Victim, ...]
    measured: bool = False

    def agreement(self) -> float | None:
        """Spearman's correlation of |ρ| with the measured change of the answers (KL)."""
        pairs = [(abs(v.rho), v.kl) for v in self.victims if v.kl is not None]
        if len(pairs) < 3:
            return None
        x, y = (torch.tensor(side).double().argsort().argsort().double() for side in zip(*pairs,
                strict=True))  # fmt: skip
        return torch.corrcoef(torch.stack([x, y]))[0, 1].item()


def in_view(studio: Studio, session: Session, subject: Subject) -> list[tuple[lib.Fact, str]]:
    """Facts to look at: those asked alike, the visitor's edits, and some of every other kind."""
    fact, case = subject.case.fact, subject.case
    found = [
        (other.fact, "same question")
        for other in studio.cases.values()
        if other.relation == case.relation
    ][: MOST // 2]
    found += [(kept.fact, "your edits") for kept in session.edits if kept.on and kept.fact]
    rest = [c.fact for c in studio.cases.values() if c.relation != case.relation]
    step = max(1, len(rest) // max(1, MOST - len(found)))
    found += [(one, "other facts") for one in rest[::step]]
    seen, kept = {_name(fact)}, []
    for one, group in sorted(found, key=lambda pair: GROUPS.index(pair[1]) != 1):
        if one.subject and _name(one) not in seen:
            seen.add(_name(one))
            kept.append((one, group))
    return kept[:MOST]


def predict(
    job: Job, studio: Studio, session: Session, subject: Subject, editor: str
) -> Prediction:
    """ρ of this edit with every fact in view; with the write's usual size also how much that is."""
    lm, fact = studio.lm, subject.case.fact
    layer = layer_of(studio, editor)
    facts = in_view(studio, session, subject)
    if len(facts) < 2:
        raise Trouble("There are too few facts in view to say which of them an edit disturbs.")
    with job.counting(lm, f"Reading keys in layer {layer}", 12, 0.0, 0.9):
        C = lib.second_moment(lm, [layer])[layer] if editor in WHITENED else None
        with lm.patched(session.patch, only=True):
            K = lm.keys([fact, *(one for one, _ in facts)], layer)
            own = lm.output(lm.mlp_out(layer), K.T).norm(dim=1).tolist()
    K = K.detach().cpu().double()
    rho = memory.interference(K[:, :1], C, K[:, 1:])[0].tolist()
    size = _usual(job, studio, editor, layer)
    victims = [
        Victim(one, group, r, None if size is None else abs(r) * size / max(o, 1e-9))
        for (one, group), r, o in zip(facts, rho, own[1:], strict=True)
    ]
    victims.sort(key=lambda v: -abs(v.rho))
    return Prediction(fact, editor, layer, tuple(victims))


def measure(
    job: Job, studio: Studio, session: Session, before: lib.Patch, found: Prediction
) -> Iterator[None]:
    """The same facts after the edit: the share of the write on their keys, and their answers."""
    lm, after = studio.lm, session.patch
    facts = [found.fact, *(victim.fact for victim in found.victims)]
    texts = [fact.text for fact in facts[1:]]
    said = []
    for words, patch, begin in ("Before the edit", before, 0.0), ("After it", after, 0.5):
        answers, *_ = studio.reader.ask(job, texts, "x", patch, words, begin, begin + 0.45)
        said.append(answers)
        yield
    landed = written(job, lm, before, after, found.layer, facts)
    if landed is not None and landed[0] > 0:
        studio.writes[found.editor, found.layer] = landed[0]
    victims = tuple(
        replace(
            victim, kl=divergence(old, new), before=old.shown, after=new.shown,
            changed=_other(victim.fact, old, new),
            share=None if landed is None or not landed[0] else landed[i] / landed[0],
        )
        for i, (victim, old, new) in enumerate(zip(found.victims, *said, strict=True), 1)
    )  # fmt: skip
    return replace(found, victims=victims, measured=True)


def written(
    job: Job, lm: lib.LM, before: lib.Patch, after: lib.Patch, layer: int,
    facts: Sequence[lib.Fact],
) -> list[float] | None:  # fmt: skip
    """‖ΔW k‖ at each fact's key for what one edit added to the layer; None: not to its weights."""
    name = lm.mlp_out(layer)
    if name not in after.weights:
        return None
    with job.counting(lm, "Reading keys again", 2, 0.95, 1.0), lm.patched(before, only=True):
        K = lm.keys(facts, layer).detach().cpu().float()
    W = lm.weight(name).cpu().float()

    def whole(patch: lib.Patch) -> torch.Tensor:
        value = patch.weights.get(name)
        if value is None:
            return torch.zeros_like(W)
        return value.dense() if isinstance(value, LowRank) else value.float() - W

    moved = ((whole(after) - whole(before)) @ K).norm(dim=0).tolist()
    return moved if all(map(math.isfinite, moved)) else None


def layer_of(studio: Studio, editor: str) -> int:
    """The layer whose keys tell: where the editor writes, or the first of several."""
    kind = studio.kind(editor)
    if kind.writes != "weights":
        name = studio.editors()[editor][0]
        raise Trouble(
            f"{name} leaves the weights alone and answers by itself, so no fact lies in its way: "
            "choose an editor that writes weights, such as ROME."
        )
    made = kind(studio.lm)
    config = getattr(made, "inner", made)
    config = config.config if isinstance(config, lib.Editor) else made.config
    if kind.trained:
        return next((min(some) for some in made.layers()[:1] if some), 0)
    for name in ("layer", "layers", "down"):
        value = getattr(config, name, None)
        if value is not None and value != ():
            return int(value if isinstance(value, int) else value[0])
    return studio.lm.n_layers // 2


def _other(fact: lib.Fact, old: Answer, new: Answer) -> bool:
    """Whether the answer became another: the true one where it was given, else any other."""
    if fact.target_true and begins(old.text, fact.target_true):
        return not begins(new.text, fact.target_true)
    return old.shown != new.shown


def _usual(job: Job, studio: Studio, editor: str, layer: int) -> float | None:
    """How large this editor's last write into the layer was, ‖ΔW k‖ at its own key."""
    if (editor, layer) not in studio.writes:
        for (name, fact, _), first in reversed(studio.firsts.items()):
            landed = None
            if name == editor:
                landed = written(job, studio.lm, lib.EMPTY, first.patch, layer, [fact])
            if landed:
                studio.writes[editor, layer] = landed[0]
                break
    return studio.writes.get((editor, layer))


def _name(fact: lib.Fact) -> str:
    return " ".join((fact.subject or fact.prompt).casefold().split())
