"""The strength of the last edit: a patch is a value, so what it adds can be halved or doubled."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import lib

from . import edit_list, given
from .studio import Studio
from .subject_in_view import subject_of
from .views import Subject, View
from .visitors import Session
from .worker import Job, Trouble

MOST = 2.0
POINTS = tuple(i / 4 for i in range(9))  # 0 to MOST
Point = tuple[float, float | None, float | None]
KEPT = 16  # curves that are remembered, for all visitors together
NONE = "There is no edit whose strength could change: press Edit first."
ROUTED = (
    "A memory answers a prompt or leaves it to the model, so the last edit has no strength: only "
    "edits that change weights have."
)


@dataclass(frozen=True)
class Curve:
    """What the last edit does at different strengths.

    fact: the last fact that it wrote.
    at: the strengths.
    new: probability of the new answer behind the edit's prompt, one per strength.
    reworded: the same in the mean over rewordings; empty where there are none.
    kept: share of the neighbors whose next token is still the unedited model's; empty without any.
    neighbors: how many neighbors were asked.
    """

    fact: lib.Fact
    at: tuple[float, ...]
    new: tuple[float, ...]
    reworded: tuple[float, ...]
    kept: tuple[float, ...]
    neighbors: int


class Strengths:
    """Scales the last edit of a visitor, and measures what it does at every strength."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.lm = studio, studio.lm
        self._curves: dict[tuple[int, Subject], tuple[lib.Patch, Curve]] = {}

    def present(self, session: Session) -> float:
        """The strength of the last applied edit; 1 where there is none."""
        last = next((edit for edit in reversed(session.edits) if edit.on), None)
        return 1.0 if last is None else last.strength

    def curve(self, session: Session) -> Job:
        """The Curve of the last applied edit, for the subject in view; None where it has none."""

        def work(job: Job) -> Generator[None, None, Curve | None]:
            edit_list.sync(session, self.studio.choices.editors())
            whole, before = _last(session)
            if whole is None or routed(whole, before):
                return None
            subject = subject_of(self.studio.choices, session)
            if subject.case.fact not in whole.log[-1].facts:
                return None  # another fact is in view: its answers say nothing of this edit
            key = id(whole), subject
            if key not in self._curves:
                points = []
                for number, strength in enumerate(POINTS):
                    job.report(number / len(POINTS), f"Asking at strength {strength:g}")
                    patch = lib.scaled(self.lm, whole, strength, before)
                    points.append(self._point(subject, patch))
                    yield
                new, reworded, kept = (tuple(v for v in part if v is not None)
                                       for part in zip(*points, strict=True))  # fmt: skip
                count = len(subject.case.neighborhood)
                found = Curve(subject.case.fact, POINTS, new, reworded, kept, count)
                self._curves[key] = whole, found  # the patch is held, so that its id stays its own
                while len(self._curves) > KEPT:
                    del self._curves[next(iter(self._curves))]
            return self._curves[key][1]

        return session.submit(self.studio.worker, work)

    def set(self, session: Session, strength: float) -> Job:
        """Give the last applied edit this strength, and ask everything again: a View."""
        wanted = min(max(given.number("strength", strength), 0.0), MOST)

        def work(job: Job) -> View:
            edit_list.sync(session, self.studio.choices.editors())
            whole, before = _last(session)
            if whole is None:
                raise Trouble(NONE)
            if routed(whole, before):
                raise Trouble(ROUTED)
            patch = lib.scaled(self.lm, whole, wanted, before)
            subject, asker = subject_of(self.studio.choices, session), self.studio.asker
            with edit_list.whole_or_not(session):
                edit_list.strengthen(session, patch, whole, wanted)
                rows = asker.look(job, subject, patch, fresh=True, end=0.8)
                count = len(session.patches)
                edit_list.measure(job, self.lm, session, count, 0.85, self.studio.unedited)
            session.view = View(subject, rows, count, old=asker.old(subject))
            return session.view

        return session.submit(self.studio.worker, work)

    def _point(self, subject: Subject, patch: lib.Patch) -> Point:
        """p(new answer), its mean over rewordings, and the share of neighbors kept."""
        case = subject.case
        asked = [case.fact.text, *case.paraphrases]
        neighbors = [probe.prompt for probe in case.neighborhood]
        with self.lm.patched(patch, only=True):
            scores = self.lm.score(asked, [case.fact.target_new] * len(asked))
            tops = self.lm.next_token(neighbors).argmax(1).tolist() if neighbors else []
        p = [score.sum().exp().item() for score in scores]
        kept = None
        if neighbors:
            with self.lm.patched(lib.EMPTY, only=True):
                own = self.lm.next_token(neighbors).argmax(1).tolist()
            kept = sum(a == b for a, b in zip(tops, own, strict=True)) / len(own)
        return p[0], sum(p[1:]) / len(p[1:]) if len(p) > 1 else None, kept


def _last(session: Session) -> tuple[lib.Patch | None, lib.Patch]:
    """The last applied edit at strength 1, and the edits before it."""
    if not session.patches:
        return None, lib.EMPTY
    whole = session.wholes.get(edit_list.numbers(session), session.patches[-1])
    return whole, session.patches[-2] if len(session.patches) > 1 else lib.EMPTY


def routed(patch: lib.Patch, before: lib.Patch) -> bool:
    """Whether a patch adds routes or rewrites to another one."""
    added = any(before.routes.get(name) is not one for name, one in patch.routes.items())
    return added or patch.rewrites != before.rewrites
