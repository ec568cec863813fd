"""Writes one fact with one editor and tests all prompts; first edits are kept for everyone.

Most visitors click Edit on an example before they have any edits. The resulting edit and answers
are the same for the next visitor, so we keep them. When the page opens, it edits the opening
example in the background.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import lib
from lib.cancellation import finished
from lib.computed_once import CachedTensors, make_missing

from . import checks
from .asking import Asker
from .choices import Choices
from .editor_settings import STEPS
from .views import Column, Row, Subject, View
from .worker import Job

READY = 24  # number of first edits to keep


@dataclass
class FirstEdit:
    """An edit of the unedited model, and the time it took.

    look: the tested subject and its rows; None before testing.
    stored: whether it already existed when it was requested.
    """

    patch: lib.Patch
    seconds: float
    look: tuple[Subject, tuple[Row, ...]] | None = None
    stored: bool = False


class FirstEdits:
    """Writes facts using one editor, and keeps the edits of the unedited model.

    made: the edits that are kept, by (editor, fact, settings), the least recently used first.
    """

    def __init__(self, lm: lib.LM, asker: Asker, choices: Choices) -> None:
        self.lm, self.asker, self.choices = lm, asker, choices
        self.made: OrderedDict[tuple, FirstEdit] = OrderedDict()
        self._last: dict[tuple, int] = {}  # (editor, steps) -> passes
        self.usual: dict[str, float] = {}  # {editor: seconds that its latest edit took}

    def column(
        self,
        job: Job,
        editor: str,
        subject: Subject,
        start: lib.Patch,
        settings: dict[str, int],
        begin: float,
        end: float,
        before: Sequence[Row] = (),
    ) -> Generator[None, None, Column]:
        """One editor's result for the fact; a failure gets a column as well.

        begin, end: the part of the job's bar to fill.
        before: the unedited model's rows. If given, report the edit itself as soon as it is known,
            as a View with these rows following it.
        """
        own = [self.choices.editors[editor][0], *(f"{k} {v}" for k, v in settings.items())]
        name, middle = checks.short(", ".join(own)), begin + (end - begin) * 0.7
        try:
            made = self.first(job, editor, subject, start, settings, begin, middle)
        except ValueError as error:
            return Column(editor, name, error=str(error))
        stored = made.stored
        yield
        words = f"Testing every prompt with {name}"
        if before and made.look is None:  # otherwise everything is known
            said = "Testing the edit itself"
            asked = job, subject, made.patch, middle, False, middle, said, start
            first = self.asker.look(*asked, only=1)
            growing = Column(editor, name, (*first, *before[1:]))
            old = self.asker.old(subject)
            grown = View(subject, (), len(start.log), columns=(growing,), old=old)
            job.report(middle, words, grown.show(0))
        if made.look is None or made.look[0] != subject:
            rows = self.asker.look(job, subject, made.patch, middle, False, end, words, start)
            made.look = subject, rows
        yield
        return Column(editor, name, made.look[1], made.patch, made.seconds, stored=stored)

    def prepare(
        self,
        job: Job,
        editor: str,
        wanted: Iterable[CachedTensors],
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        """Compute the statistics that the editor needs from the model, if missing, with a progress
        bar.
        """
        name = self.choices.editors[editor][0]
        words = f"{name} is measuring this model, which is only needed once"
        missing = [one for one in wanted if not one.is_there()]
        kinds = list(dict.fromkeys(one.kind for one in missing))
        for i, kind in enumerate(kinds):
            part = (begin + (end - begin) * (i + more) / len(kinds) for more in (0, 1))
            with job.counting(self.lm, words, 0, *part):
                make_missing(one for one in missing if one.kind == kind)

    def warm(self, job: Job, editor: str, subject: Subject) -> None:
        """Edit a subject and test every prompt, so that the first visitor doesn't have to wait."""
        finished(self.column(job, editor, subject, lib.EMPTY, {}, 0.0, 1.0))

    def first(
        self,
        job: Job,
        editor: str,
        subject: Subject,
        start: lib.Patch,
        settings: dict[str, int],
        begin: float,
        end: float,
    ) -> FirstEdit:
        """The fact written by one editor on top of `start`; edits of the empty patch are kept."""
        fact, name = subject.case.fact, self.choices.editors[editor][0]
        key = editor, fact, tuple(sorted(settings.items()))
        if not start and key in self.made:
            self.made.move_to_end(key)
            self.made[key].stored = True
            return self.made[key]
        writer = self.choices.writer(editor, **settings)
        length = editor, steps(writer)
        expected = self._last.get(length, length[1] + 14)
        if refused := writer.refusal(start):
            raise lib.errors.EditError(refused)
        self.prepare(job, editor, writer.statistics(start), begin, end)
        began = time.perf_counter()
        with job.counting(self.lm, f"{name} is writing", expected, begin, end) as passes:
            patch = writer.edit([fact], after=start, check=False)
        made = FirstEdit(patch, time.perf_counter() - began)
        self._last[length] = passes()
        self.usual[editor] = made.seconds
        if not start:
            self.made[key] = made
            while len(self.made) > READY:
                self.made.popitem(last=False)
        return made


def steps(editor: lib.Editor) -> int:
    """The length of an editor's search, or 0 if it doesn't search."""
    found = [getattr(editor.config, name) for name in STEPS if hasattr(editor.config, name)]
    return found[0] if found and not editor.trained else 0
