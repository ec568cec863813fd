"""Which facts an edit will disturb: predicted from keys before it is made, measured afterwards.

A layer is a memory. Writing at key i puts the share ρ(i, j) of the write on key j, in the geometry
that the editor uses: whitened by the second moment of general text where it inserts in closed form,
the plain one where it follows a gradient. Afterwards the same share is read from the patch itself.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

import lib
from lib import memory
from lib.evaluation.answers import begins

from . import edit_list
from .predictions import GROUPS, Prediction, Victim
from .studio import Studio
from .verdicts import divergence
from .views import Answer, Subject
from .visitors import Session
from .worker import Job, Trouble

MOST = 28  # facts in view


class Forecasts:
    """Predicts which facts an edit disturbs, and measures them after the edit: both are jobs.

    writes: {(editor, layer): how large the editor's last write into the layer was}, ‖ΔW k‖ at the
        key of the fact it wrote. It tells how much of the next write will land on other facts.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio, self.lm = studio, studio.lm
        self.writes: dict[tuple[str, int], float] = {}

    def predict(self, session: Session, subject: Subject, editor: str) -> Job:
        """Which facts in view this edit will disturb: a Prediction."""

        def work(job: Job) -> Prediction:
            edit_list.sync(session, self.studio.choices.editors())
            session.foretold = self._predicted(job, session, subject, editor)
            return session.foretold

        return session.submit(self.studio.worker, work)

    def unmeasured(self, session: Session) -> bool:
        """Whether the visitor's last edit is one that can be measured and has not been yet."""
        if not session.patches or not (log := session.patch.log):
            return False
        line, told, choices = log[-1], session.foretold, self.studio.choices
        if not line.facts or line.editor not in choices.editors():
            return False
        known = told is not None and told.fact in line.facts and told.editor == line.editor
        return choices.kind(line.editor).writes == "weights" and not (known and told.measured)

    def measure(self, session: Session) -> Job:
        """What the last edit did to the facts in view, beside what was predicted: a Prediction."""
        choices = self.studio.choices

        def work(job: Job) -> Generator[None, None, Prediction]:
            if not session.patches:
                raise Trouble("There is no edit to measure: press Edit in the first tab.")
            edit_list.sync(session, choices.editors())
            line = session.patch.log[-1]
            before = session.patches[-2] if len(session.patches) > 1 else lib.EMPTY
            told = session.foretold
            if told is None or told.fact not in line.facts or told.editor != line.editor:
                if not line.facts or line.editor not in choices.editors():
                    raise Trouble("The last edit came from a file: write one in the first tab.")
                now = replace(session, patches=session.patches[:-1])  # as it was before the edit
                fact = line.facts[0]
                wanted = choices.subject(fact.subject or "", fact.prompt, fact.target_new)
                told = self._predicted(job, now, wanted, line.editor)
                yield
            found = yield from self._measured(job, before, session.patch, told)
            session.foretold = found
            return found

        return session.submit(self.studio.worker, work)

    def _predicted(self, job: Job, session: Session, subject: Subject, editor: str) -> Prediction:
        """ρ of this edit with each fact in view, and how much lands if the usual size is known."""
        lm, fact = self.lm, subject.case.fact
        layer = layer_of(self.studio, editor)
        facts = in_view(self.studio, session, subject)
        if len(facts) < 2:
            raise Trouble("There are too few facts in view to say which of them an edit disturbs.")
        whitened = self.studio.choices.kind(editor).geometry == "whitened"
        with job.counting(lm, f"Reading keys in layer {layer}", 12, 0.0, 0.9):
            C = lib.second_moment(lm, [layer])[layer] if whitened else None  # (d_in, d_in)
            with lm.patched(session.patch, only=True):
                K = lm.keys([fact, *(one for one, _ in facts)], layer)  # (d_in, 1 + n)
                own = lm.output(lm.mlp_out(layer), K.T).norm(dim=1).tolist()
        K = K.detach().cpu().double()
        rho = memory.interference(K[:, :1], C, K[:, 1:])[0].tolist()
        size = self._usual(job, editor, layer)
        victims = [
            Victim(one, group, r, None if size is None else abs(r) * size / max(o, 1e-9))
            for (one, group), r, o in zip(facts, rho, own[1:], strict=True)
        ]
        victims.sort(key=lambda v: -abs(v.rho))
        return Prediction(fact, editor, layer, tuple(victims))

    def _measured(
        self, job: Job, before: lib.Patch, after: lib.Patch, found: Prediction
    ) -> Generator[None, None, Prediction]:
        """The same facts after the edit: the share of the write that landed, and their answers."""
        facts = [found.fact, *(victim.fact for victim in found.victims)]
        texts = [fact.text for fact in facts[1:]]
        said = []
        for words, patch, begin in ("Before the edit", before, 0.0), ("After it", after, 0.5):
            asker = self.studio.asker
            answers, *_ = asker.ask(job, texts, "x", patch, words, begin, begin + 0.45)
            said.append(answers)
            yield
        landed = written(job, self.lm, before, after, found.layer, facts)
        # None where the edit left this layer's weights alone: then there is no share to compare
        shares: list[float | None] = [None] * len(facts)
        if landed is not None and landed[0] > 0:
            self.writes[found.editor, found.layer] = landed[0]
            shares = [size / landed[0] for size in landed]
        victims = tuple(
            replace(
                victim,
                kl=divergence(old, new),
                before=old.shown,
                after=new.shown,
                changed=_other(victim.fact, old, new),
                share=share,
            )
            for victim, old, new, share in zip(found.victims, *said, shares[1:], strict=True)
        )
        return replace(found, victims=victims, measured=True)

    def _usual(self, job: Job, editor: str, layer: int) -> float | None:
        """How large this editor's last write into the layer was, ‖ΔW k‖ at its own key."""
        if (editor, layer) not in self.writes:
            for (name, fact, _), first in reversed(self.studio.first_edits.made.items()):
                landed = None
                if name == editor:
                    landed = written(job, self.lm, lib.EMPTY, first.patch, layer, [fact])
                if landed:
                    self.writes[editor, layer] = landed[0]
                    break
        return self.writes.get((editor, layer))


def in_view(studio: Studio, session: Session, subject: Subject) -> list[tuple[lib.Fact, str]]:
    """Facts to look at: those asked alike, the visitor's edits, and some of every other kind."""
    fact, case, cases = subject.case.fact, subject.case, studio.choices.cases.values()
    alike = [other.fact for other in cases if other.relation == case.relation]
    found = [(one, "same question") for one in alike[: MOST // 2]]
    found += [(edit.fact, "your edits") for edit in session.edits if edit.on and edit.fact]
    # the rest of the view is filled with facts that are evenly spread over the other relations
    rest = [other.fact for other in cases if other.relation != case.relation]
    step = max(1, len(rest) // max(1, MOST - len(found)))
    found += [(one, "other facts") for one in rest[::step]]
    seen, chosen = {_name(fact)}, []
    # the visitor's edits come first, so that they are named as such where a subject occurs twice
    for one, group in sorted(found, key=lambda pair: GROUPS.index(pair[1]) != 1):
        if one.subject and _name(one) not in seen:
            seen.add(_name(one))
            chosen.append((one, group))
    return chosen[:MOST]


def written(
    job: Job,
    lm: lib.LM,
    before: lib.Patch,
    after: lib.Patch,
    layer: int,
    facts: Sequence[lib.Fact],
) -> list[float] | None:
    """‖ΔW k‖ at each fact's key for what one edit added to the layer; None: not to its weights."""
    name = lm.mlp_out(layer)
    if name not in after.weights:
        return None
    with job.counting(lm, "Reading keys again", 2, 0.95, 1.0), lm.patched(before, only=True):
        K = lm.keys(facts, layer).detach().cpu().float()  # (d_in, n)
    W = lm.weight(name).cpu().float()

    def whole(patch: lib.Patch) -> torch.Tensor:
        value = patch.weights.get(name)
        if value is None:
            return torch.zeros_like(W)
        return value.dense() if isinstance(value, lib.LowRank) else value.float() - W

    moved = ((whole(after) - whole(before)) @ K).norm(dim=0).tolist()
    return moved if all(map(math.isfinite, moved)) else None


def layer_of(studio: Studio, editor: str) -> int:
    """The layer whose keys tell: where the editor writes, or the first of several."""
    kind = studio.choices.kind(editor)
    if kind.writes != "weights":
        name = studio.choices.editors()[editor][0]
        raise Trouble(
            f"{name} leaves the weights alone and answers by itself, so no fact lies in its way: "
            "choose an editor that writes weights, such as ROME."
        )
    made = kind(studio.lm)
    config = getattr(made, "wrapped", made).config  # of a wrapper, the editor inside decides
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


def _name(fact: lib.Fact) -> str:
    """The subject in a form in which the same name is the same string."""
    return " ".join((fact.subject or fact.prompt).casefold().split())
