"""What visitors may do with edits that are there: keep another one, switch, look back, and undo.

Each is a job for the worker. An undo takes a patch away and proves that nothing else is left: the
bytes of every matrix are compared with those the model came with, and the answers are asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch

import lib

from . import edit_list, given
from .asking import Asker
from .choices import Choices
from .edit_list import BaseAnswers
from .edits import Point
from .subject_in_view import subject_of
from .views import View
from .visitors import Session
from .worker import Job, Trouble, Worker


class Revisions:
    """Changes a visitor's list of edits.

    bytes: {module: (address, SHA-256)} of every matrix that editors write, as the model came.
    """

    def __init__(
        self, lm: lib.LM, worker: Worker, asker: Asker, choices: Choices, unedited: BaseAnswers
    ) -> None:
        self.lm, self.worker, self.asker = lm, worker, asker
        self.choices, self.unedited = choices, unedited
        self.bytes = {name: digest(lm, name) for name in map(lm.mlp_out, range(lm.n_layers))}

    def keep(self, session: Session, index: int) -> Job:
        """Of several editors side by side, the one whose patch becomes the visitor's edit."""
        index = given.whole("number of the editor to keep", index)

        def work(job: Job) -> View:
            view = session.view
            here = view is not None and 0 <= index < len(view.columns)
            if not here or session.patch is not view.columns[view.chosen].patch:
                raise Trouble("That comparison is no longer the last edit: press Edit again.")
            column = view.columns[index]
            if column.patch is None:
                raise Trouble(f"{column.name} made no edit: {column.error}.")
            if index != view.chosen:
                with edit_list.whole_or_not(session):
                    edit_list.drop_last(session)
                    edit_list.add(session, column.patch, column.name, column.seconds)
                    self._measure(job, session, 0)
                    self._measure(job, session, len(session.patches))
                session.view = view.keep(index)
            return session.view

        return session.submit(self.worker, work)

    def switch(self, session: Session, wanted: Sequence[int]) -> Job:
        """Apply just these edits of the visitor's list, by their numbers; ask everything again."""
        chosen = set(given.wholes("list of edits to apply", wanted))

        def work(job: Job) -> Iterator[None]:
            edit_list.sync(session, self.choices.editors())
            found = yield from edit_list.fold(job, self.lm, session, chosen)
            with edit_list.whole_or_not(session):
                edit_list.choose(session, chosen, found)
                self._measure(job, session, 0, 0.8)
                self._measure(job, session, len(session.patches), 0.9)
            yield
            subject = subject_of(self.choices, session)
            rows = self.asker.look(job, subject, session.patch, fresh=True)
            old = self.asker.old(subject)
            session.view = View(subject, rows, len(session.patches), old=old)
            return session.view

        return session.submit(self.worker, work)

    def at(self, session: Session, count: int) -> Job:
        """What is said to the edits' prompts after the first `count` of them: a Point."""
        count = given.whole("number of edits to look back to", count)

        def work(job: Job) -> Point:
            edit_list.sync(session, self.choices.editors())
            inside = min(max(count, 0), len(session.patches))
            self._measure(job, session, 0)
            return self._measure(job, session, inside, 0.5)

        return session.submit(self.worker, work)

    def undo(self, session: Session, everything: bool = False) -> Job:
        """Take back the last edit, or all, and prove it: bytes of weights, answers asked again."""

        def work(job: Job) -> View:
            if not session.patches:
                raise Trouble(
                    "There is no edit to undo; edits are dropped after an hour of silence."
                )
            edit_list.sync(session, self.choices.editors())
            last = session.patch
            left = [] if everything else session.patches[:-1]
            patch = left[-1] if left else lib.EMPTY
            subject = subject_of(self.choices, session)
            rows = self.asker.look(job, subject, patch, fresh=True)
            self._verify(last)
            same = sum(row.before == row.after for row in rows)
            if everything:
                edit_list.clear(session)
            else:
                edit_list.drop_last(session)
            proof = "The model's weights are byte-identical to those it came with"
            if left:
                live = f"{len(left)} edit{'s' * (len(left) > 1)} of yours still live"
                note = f"Undone. {live}. {proof}: an edit is only laid over them."
            else:
                note = (
                    f"Undone. {proof}, and {same} of {len(rows)} answers are the model's own again."
                )
            old = self.asker.old(subject)
            session.view = View(subject, rows, len(left), note=note, undone=True, old=old)
            return session.view

        return session.submit(self.worker, work, frees=True)

    def _measure(self, job: Job, session: Session, count: int, share: float = 0.0) -> Point:
        return edit_list.measure(job, self.lm, session, count, share, self.unedited)

    def _verify(self, patch: lib.Patch) -> None:
        """Raise unless every matrix the patch touched is what it was, byte for byte."""
        for name in {*patch.weights, *patch.routes} & self.bytes.keys():
            if digest(self.lm, name) != self.bytes[name]:
                raise Trouble(f"The weights of {name} are not what they were: restart the page.")


def digest(lm: lib.LM, module: str) -> tuple[int, str]:
    """Address and SHA-256 of a matrix's bytes."""
    W = lm.model.get_submodule(module).weight.detach()
    raw = W.cpu().contiguous().view(torch.uint8).numpy()
    return W.data_ptr(), hashlib.sha256(raw).hexdigest()
