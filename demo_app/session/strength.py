"""The strength of the last edit: a patch is a value, so what it adds can be halved or doubled."""

from __future__ import annotations

import lib
from lib.patch.patch import routed

from . import edit_list, given
from .studio import Studio
from .subject_in_view import subject_of
from .views import View
from .visitors import Session
from .worker import Job, Trouble

MOST = 2.0
NONE = "There is no edit whose strength could change: press Edit first."
ROUTED = (
    "A memory answers a prompt or leaves it to the model, so the last edit has no strength: only "
    "edits that change weights have."
)


class Strengths:
    """Scales the last edit of a visitor."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.lm = studio, studio.lm

    def present(self, session: Session) -> float:
        """The strength of the last applied edit; 1 where there is none."""
        last = next((edit for edit in reversed(session.edits) if edit.on), None)
        return 1.0 if last is None else last.strength

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


def _last(session: Session) -> tuple[lib.Patch | None, lib.Patch]:
    """The last applied edit at strength 1, and the edits before it."""
    if not session.patches:
        return None, lib.EMPTY
    whole = session.wholes.get(edit_list.numbers(session), session.patches[-1])
    return whole, session.patches[-2] if len(session.patches) > 1 else lib.EMPTY
