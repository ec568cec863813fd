"""What visitors may do with edits that are there: keep another one, take one out.

Each is a job for the worker, and gives a View. Whatever takes an edit out proves that nothing else
is left: the bytes of every matrix are compared with those the model came with, and the answers are
asked again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import lib
from lib import atomic_files

from . import edits, given
from .asking import Asker
from .choices import Choices
from .edits import AppliedEdit, Health, patch_of
from .subject_in_view import subject_of
from .views import View
from .visitors import Session
from .worker import Job, Trouble, Worker

OVER = "That comparison is no longer the last edit: press Edit again."
PROOF = "The model's weights are byte-identical to those it came with"


class Revisions:
    """Changes a visitor's list of edits.

    bytes: {module: (address, SHA-256)} of every matrix that editors write, as the model came.
    """

    def __init__(
        self, lm: lib.LM, worker: Worker, asker: Asker, choices: Choices, health: Health
    ) -> None:
        self.lm, self.worker, self.asker = lm, worker, asker
        self.choices, self.health = choices, health
        self.bytes = {name: digest(lm, name) for name in map(lm.mlp_out, range(lm.n_layers))}

    def keep(self, session: Session, index: int, layers: bool = False) -> Job:
        """The editor of a comparison whose patch becomes the visitor's last edit.

        layers: whether it is the comparison of layers, and not the one in view.
        """
        index = given.whole("number of the editor to keep", index)

        def work(job: Job) -> View:
            view = session.layers if layers else session.view
            if view is None or not 0 <= index < len(view.columns):
                raise Trouble(OVER)
            column, first = view.columns[index], view.live - view.kept
            if column.patch is None:
                raise Trouble(f"{column.name} made no edit: {str(column.error).rstrip('.')}.")
            before, above = session.edits[:first], session.edits[first:]
            same = all(edit.fact == view.subject.case.fact for edit in above)
            other = column.patch.log[:-1] != patch_of(before).log  # as many as then, but others
            if other or not same or len(above) > (view.kept or view.again):
                raise Trouble(OVER)
            now = (*before, AppliedEdit(column.patch, column.name, column.rows[0]))
            self._put(job, session, now, view.keep(index))
            return session.view

        return session.submit(self.worker, work)

    def undo(self, session: Session, place: int | None = None) -> Job:
        """Take one edit out, by its place from 0, or all with None, and prove it."""
        if place is not None:
            place = given.whole("number of the edit to take out", place)

        def work(job: Job) -> Generator[None, None, View]:
            held = session.edits
            if not held:
                raise Trouble(
                    "There is no edit to undo; edits are dropped after an hour of silence."
                )
            if place is not None and not -len(held) <= place < len(held):
                raise Trouble("That edit is not in your list any more.")
            left: tuple[AppliedEdit, ...] = ()
            if place is not None:
                left = yield from edits.without(job, self.lm, held, place % len(held))
            if session.edits is not held:
                raise Trouble("Your edits changed meanwhile, so nothing was done: try again.")
            asked = subject_of(self.choices, session)
            under = patch_of(left)
            patches = [lib.EMPTY, *(edit.patch for edit in left)]
            before = [p for p in patches if asked.case.fact not in p.facts][-1]
            rows = self.asker.look(job, asked, under, fresh=True, end=0.9, start=before)
            view = View(asked, rows, len(left), old=self.asker.old(asked))
            # every matrix that the patch touched is what it was, byte for byte
            for name in {*held[-1].patch.weights, *held[-1].patch.routes} & self.bytes.keys():
                if digest(self.lm, name) != self.bytes[name]:
                    raise Trouble(
                        f"The weights of {name} are not what they were: restart the page."
                    )
            gone = held if place is None else (held[place],)
            self._put(job, session, left, replace(view, undone=_note(view, gone)))
            return session.view

        return session.submit(self.worker, work)

    def _put(self, job: Job, session: Session, now: tuple[AppliedEdit, ...], view: View) -> None:
        """Make a list of edits the visitor's: all of it at the end, or nothing."""
        checked, warned = self.health.checked(job, now)
        session.edits, session.warning, session.view = checked, warned, view


def _note(view: View, gone: Sequence[AppliedEdit]) -> str:
    """What an undo took out and has verified, in a sentence."""
    what = f"Undone: {', '.join(f'{one.fact.subject} → {one.fact.target_new}' for one in gone)}. "
    if view.live:
        live = f"{view.live} edit{'s' * (view.live > 1)} of yours still live"
        return f"{what}{live}. {PROOF}: an edit is only laid over them."
    same = sum(row.before == row.after for row in view.rows)
    return f"{what}{PROOF}, and {same} of {len(view.rows)} answers are the model's own again."


def digest(lm: lib.LM, module: str) -> tuple[int, str]:
    """Address and SHA-256 of a matrix's bytes."""
    W = lm.model.get_submodule(module).weight.detach()
    return W.data_ptr(), atomic_files.digest("", {"W": W.cpu()})
