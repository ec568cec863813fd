"""One editor writes one fact, and all prompts are asked again; first edits are kept for everybody.

Most visitors press Edit on an example before they have edits of their own. What is written and
asked then is the same for the next visitor, so it is kept, and the ready example is edited in the
background when the page opens.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import lib
from lib.cancellation import finished
from lib.computed_once import CachedTensors, make_missing

from . import given
from .asking import Asker
from .choices import Choices
from .editor_settings import STEPS
from .views import Column, Row, Subject, View
from .worker import Job

READY = 24  # first edits that are kept


@dataclass
class FirstEdit:
    """An edit of the model as it came, and how long it took.

    look: the subject that was asked about, and its rows; None before it was asked about.
    stored: whether it was there before the one who asks for it.
    """

    patch: lib.Patch
    seconds: float
    look: tuple[Subject, tuple[Row, ...]] | None = None
    stored: bool = False


class FirstEdits:
    """Writes facts by one editor, and keeps the edits of the unedited model.

    made: the edits that are kept, by (editor, fact, settings), the least recently used first.
    """

    def __init__(self, lm: lib.LM, asker: Asker, choices: Choices) -> None:
        self.lm, self.asker, self.choices = lm, asker, choices
        self.made: OrderedDict[tuple, FirstEdit] = OrderedDict()
        self._last: dict[tuple, int] = {}  # (editor, steps) -> passes
        self.usual: dict[str, float] = {}  # {editor: seconds that its last edit took}

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
        """What one editor makes of the fact; a failure is a column of its own.

        begin, end: the part of the job's bar that this is. before: the rows of the unedited model;
        where they are given, the edit itself is told as soon as it is known, as a View in which
        they stand behind it.
        """
        own = [self.choices.editors[editor][0], *(f"{k} {v}" for k, v in settings.items())]
        name, middle = given.short(", ".join(own)), begin + (end - begin) * 0.7
        try:
            made = self.first(job, editor, subject, start, settings, begin, middle)
        except ValueError as error:
            return Column(editor, name, error=str(error))
        stored = made.stored
        yield
        words = f"Asking all again under {name}"
        if before and made.look is None:  # else all is there
            said = "Asking the edit itself"
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
        """Make what the editor reads of the model, where it is not there yet, with a bar."""
        name = self.choices.editors[editor][0]
        words = f"{name} reads what it needs of this model, once"
        missing = [one for one in wanted if not one.is_there()]
        kinds = list(dict.fromkeys(one.kind for one in missing))
        for i, kind in enumerate(kinds):
            part = (begin + (end - begin) * (i + more) / len(kinds) for more in (0, 1))
            with job.counting(self.lm, words, 0, *part):
                make_missing(one for one in missing if one.kind == kind)

    def warm(self, job: Job, editor: str, subject: Subject) -> None:
        """Edit a subject and ask everything, so that the first visitor need not wait."""
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
        """The fact written by one editor on top of `start`; an edit of the empty patch is kept."""
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
    """The length of an editor's search; 0 where it does not search."""
    found = [getattr(editor.config, name) for name in STEPS if hasattr(editor.config, name)]
    return found[0] if found and not editor.trained else 0
