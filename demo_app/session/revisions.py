"""Changes to a visitor's existing edits: keeping a different one, or removing one.

Each is a job for the worker, returning a View. Every removal proves that nothing else is left: it
compares the bytes of every matrix with the original ones, and tests the prompts again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import lib
from lib import atomic_files

from . import checks, edits
from .asking import Asker
from .choices import Choices
from .edits import AppliedEdit, Health, patch_of
from .subject_in_view import subject_of
from .views import View
from .visitors import Session
from .worker import Job, Trouble, Worker

OVER = "That comparison is no longer your last edit. Press Edit again."
PROOF = "The model's weights are byte-identical to the original ones"


class Revisions:
    """Changes a visitor's list of edits.

    bytes: {module: (address, SHA-256)} of every matrix that editors write, in the original model.
    """

    def __init__(
        self, lm: lib.LM, worker: Worker, asker: Asker, choices: Choices, health: Health
    ) -> None:
        self.lm, self.worker, self.asker = lm, worker, asker
        self.choices, self.health = choices, health
        self.bytes = {name: digest(lm, name) for name in map(lm.mlp_out, range(lm.n_layers))}

    def keep(self, session: Session, index: int, layers: bool = False) -> Job:
        """Make one editor's patch from a comparison the visitor's last edit.

        layers: whether to use the comparison of layers instead of the view.
        """
        index = checks.whole("number of the editor to keep", index)

        def work(job: Job) -> View:
            view = session.layers if layers else session.view
            if view is None or not 0 <= index < len(view.columns):
                raise Trouble(OVER)
            column, first = view.columns[index], view.live - view.kept
            if column.patch is None:
                raise Trouble(f"{column.name} made no edit: {str(column.error).rstrip('.')}.")
            before, above = session.edits[:first], session.edits[first:]
            same = all(edit.fact == view.subject.case.fact for edit in above)
            # the same number as then, but different edits
            other = column.patch.log[:-1] != patch_of(before).log
            if other or not same or len(above) > (view.kept or view.again):
                raise Trouble(OVER)
            now = (*before, AppliedEdit(column.patch, column.name, column.rows[0]))
            self._put(job, session, now, view.keep(index))
            return session.view

        return session.submit(self.worker, work)

    def undo(self, session: Session, place: int | None = None) -> Job:
        """Undo one edit, by its index from 0, or all edits if None, and prove it."""
        if place is not None:
            place = checks.whole("number of the edit to remove", place)

        def work(job: Job) -> Generator[None, None, View]:
            held = session.edits
            if not held:
                raise Trouble(
                    "You have no edit to undo. Edits are dropped after an hour of inactivity."
                )
            if place is not None and not -len(held) <= place < len(held):
                raise Trouble("That edit is no longer in your list.")
            left: tuple[AppliedEdit, ...] = ()
            if place is not None:
                left = yield from edits.without(job, self.lm, held, place % len(held))
            if session.edits is not held:
                raise Trouble("Your edits changed in the meantime, so nothing was done. Try again.")
            asked = subject_of(self.choices, session)
            under = patch_of(left)
            patches = [lib.EMPTY, *(edit.patch for edit in left)]
            before = [p for p in patches if asked.case.fact not in p.facts][-1]
            rows = self.asker.look(job, asked, under, fresh=True, end=0.9, start=before)
            view = View(asked, rows, len(left), old=self.asker.old(asked))
            # every matrix that the patch changed is the same again, byte for byte
            for name in {*held[-1].patch.weights, *held[-1].patch.routes} & self.bytes.keys():
                if digest(self.lm, name) != self.bytes[name]:
                    raise Trouble(f"The weights of {name} have changed. Restart the page.")
            gone = held if place is None else (held[place],)
            self._put(job, session, left, replace(view, undone=_note(view, gone)))
            return session.view

        return session.submit(self.worker, work)

    def _put(self, job: Job, session: Session, now: tuple[AppliedEdit, ...], view: View) -> None:
        """Replace the visitor's list of edits, either completely or not at all."""
        checked, warned = self.health.checked(job, now)
        session.edits, session.warning, session.view = checked, warned, view


def _note(view: View, gone: Sequence[AppliedEdit]) -> str:
    """A sentence on the edits that were undone and the result of the check."""
    what = f"Undone: {', '.join(f'{one.fact.subject} → {one.fact.target_new}' for one in gone)}. "
    if view.live:
        live = f"{view.live} of your edits {'are' if view.live > 1 else 'is'} still live"
        return f"{what}{live}. {PROOF}: edits are only applied on top of them."
    same = sum(row.before == row.after for row in view.rows)
    return f"{what}{PROOF}, and {same} of {len(view.rows)} answers are the model's own again."


def digest(lm: lib.LM, module: str) -> tuple[int, str]:
    """Address and SHA-256 of a matrix's bytes."""
    W = lm.model.get_submodule(module).weight.detach()
    return W.data_ptr(), atomic_files.digest("", {"W": W.cpu()})
