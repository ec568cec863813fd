"""What visitors may do with edits that are there: keep another, switch, look back, undo: jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

import lib

from . import edit_list as keep
from .asking import Reader
from .views import View
from .visitors import Session
from .worker import Job, Trouble


class Revising:
    """The part of the studio that works on a visitor's list of edits."""

    lm: lib.LM
    reader: Reader
    bytes: dict[str, tuple[int, str]]
    editors: Callable[[], dict[str, tuple[str, str]]]
    unedited: keep.Said
    _submit: Callable[[Session, Any], Job]

    def keep(self, session: Session, index: int) -> Job:
        """Of several editors side by side, the one whose patch becomes the visitor's edit."""

        def work(job: Job) -> View:
            view = session.view
            here = view is not None and 0 <= index < len(view.columns)
            if not here or session.patch is not view.columns[view.chosen].patch:
                raise Trouble("That comparison is no longer the last edit: press Edit again.")
            column = view.columns[index]
            if column.patch is None:
                raise Trouble(f"{column.name} made no edit: {column.error}.")
            if index != view.chosen:
                keep.drop_last(session)
                keep.add(session, column.patch, column.name, column.seconds)
                self._measure(job, session, 0)
                self._measure(job, session, len(session.patches))
                session.view = view.keep(index)
            return session.view

        return self._submit(session, work)

    def switch(self, session: Session, wanted: Sequence[int]) -> Job:
        """Apply just these edits of the visitor's list, by their numbers; ask everything again."""

        def work(job: Job) -> Iterator[None]:
            keep.sync(session, self.editors())
            yield from keep.choose(job, self.lm, session, set(wanted))
            self._measure(job, session, 0, 0.8)
            self._measure(job, session, len(session.patches), 0.9)
            yield
            subject = session.view.subject
            rows = self.reader.look(job, subject, session.patch, fresh=True)
            session.view = View(subject, rows, len(session.patches), old=session.view.old)
            return session.view

        return self._submit(session, work)

    def at(self, session: Session, count: int) -> Job:
        """What is said to the edits' prompts after the first `count` of them: a keep.Point."""

        def work(job: Job) -> keep.Point:
            keep.sync(session, self.editors())
            inside = min(max(int(count), 0), len(session.patches))
            self._measure(job, session, 0)
            return self._measure(job, session, inside, 0.5)

        return self._submit(session, work)

    def undo(self, session: Session, everything: bool = False) -> Job:
        """Take back the last edit, or all, and prove it: bytes of weights, answers asked again."""

        def work(job: Job) -> View:
            if not session.patches:
                raise Trouble(
                    "There is no edit to undo; edits are dropped after an hour of silence."
                )
            keep.sync(session, self.editors())
            last = session.patch
            left = [] if everything else session.patches[:-1]
            patch = left[-1] if left else lib.EMPTY
            subject = session.view.subject
            rows = self.reader.look(job, subject, patch, fresh=True)
            self._verify(last)
            same = sum(row.before.text == row.after.text for row in rows)
            if everything:
                keep.clear(session)
            else:
                keep.drop_last(session)
            proof = "The model's weights are byte-identical to those it came with"
            if left:
                live = f"{len(left)} edit{'s' * (len(left) > 1)} of yours still live"
                note = f"Undone. {live}. {proof}: an edit is only laid over them."
            else:
                note = (
                    f"Undone. {proof}, and {same} of {len(rows)} answers are the model's own again."
                )
            old = self.reader.old(subject)
            session.view = View(subject, rows, len(left), note=note, undone=True, old=old)
            return session.view

        return self._submit(session, work)

    def _measure(self, job: Job, session: Session, count: int, share: float = 0.0) -> keep.Point:
        return keep.measure(job, self.lm, session, count, share, self.unedited)

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
