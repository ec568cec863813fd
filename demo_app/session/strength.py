"""The strength of the last edit: a patch is a value, so what it adds can be halved or doubled."""

from __future__ import annotations

from collections.abc import Generator
from statistics import fmean

import lib
from lib.patch.patch import routed

from . import edit_list, given
from .edits import Curve
from .studio import Studio
from .subject_in_view import subject_of
from .views import Subject, View
from .visitors import Session
from .worker import Job, Trouble

MOST = 2.0
POINTS = tuple(i / 4 for i in range(9))  # 0 to MOST
Point = tuple[float, float | None, float | None]
NONE = "There is no edit whose strength could change: press Edit first."
ROUTED = (
    "A memory answers a prompt or leaves it to the model, so the last edit has no strength: only "
    "edits that change weights have."
)


class Strengths:
    """Scales the last edit of a visitor, and measures what it does at every strength."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.lm = studio, studio.lm

    def present(self, session: Session) -> float:
        """The strength of the last applied edit; 1 where there is none."""
        last = next((edit for edit in reversed(session.edits) if edit.on), None)
        return 1.0 if last is None else last.strength

    def curve(self, session: Session) -> Job:
        """The Curve of the last applied edit, for the subject in view; None where it has none.

        Nobody presses for it, so whatever the visitor presses meanwhile goes first; where that
        changes the last edit or the subject in view, the job ends with None.
        """

        def work(job: Job) -> Generator[None, None, Curve | None]:
            edit_list.sync(session, self.studio.choices.editors())
            whole, before = _last(session)
            if whole is None or routed(whole, before):
                return None
            subject = subject_of(self.studio.choices, session)
            if subject.case.fact not in whole.log[-1].facts:
                return None  # another fact is in view: its answers say nothing of this edit
            known = session.curve
            if known is None or known[0] is not whole or known[1] != subject:
                own, points = self._tops(subject, lib.EMPTY), []
                for number, strength in enumerate(POINTS):
                    present = _last(session)[0], subject_of(self.studio.choices, session)
                    if present[0] is not whole or present[1] != subject:
                        return None
                    job.report(number / len(POINTS), f"Asking at strength {strength:g}")
                    patch = lib.scaled(self.lm, whole, strength, before)
                    points.append(self._point(subject, patch, own))
                    yield
                columns = zip(*points, strict=True)
                new, reworded, kept = (tuple(v for v in one if v is not None) for one in columns)
                found = Curve(subject.case.fact, POINTS, new, reworded, kept, len(own))
                known = session.curve = whole, subject, found
            return known[2]

        return session.submit(self.studio.worker, work, unasked=True)

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

    def _point(self, subject: Subject, patch: lib.Patch, own: list[int]) -> Point:
        """p(new answer), its mean over rewordings, and the share of neighbors kept.

        own: the next tokens of the unedited model at the neighbors.
        """
        case = subject.case
        asked = [case.fact.text, *case.paraphrases]
        with self.lm.patched(patch, only=True):
            scores = self.lm.score(asked, [case.fact.target_new] * len(asked))
        p = [score.sum().exp().item() for score in scores]
        same = [a == b for a, b in zip(self._tops(subject, patch), own, strict=True)]
        return p[0], fmean(p[1:]) if p[1:] else None, fmean(same) if same else None

    def _tops(self, subject: Subject, patch: lib.Patch) -> list[int]:
        """The most probable next token behind each neighbor."""
        neighbors = [probe.prompt for probe in subject.case.neighborhood]
        if not neighbors:
            return []
        with self.lm.patched(patch, only=True):
            return self.lm.next_token(neighbors).argmax(1).tolist()


def _last(session: Session) -> tuple[lib.Patch | None, lib.Patch]:
    """The last applied edit at strength 1, and the edits before it."""
    if not session.patches:
        return None, lib.EMPTY
    whole = session.wholes.get(edit_list.numbers(session), session.patches[-1])
    return whole, session.patches[-2] if len(session.patches) > 1 else lib.EMPTY
