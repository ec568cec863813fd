"""One editor writes one fact, and all is asked again; first edits are kept for everybody.

Most visitors press Edit on an example before they have edits of their own: what was written and
asked then is the same for the next one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lib

from . import edit_list as keep
from .asking import Reader
from .choices import STEPS
from .views import Column, Row, Subject
from .worker import Job

READY = 24  # first edits that are kept
LOOKS = 8  # of them with all that was asked: a distribution of the next token for every row
WARM = ("ultraedit", "grace", "rome")  # what the ready example is edited with in the background


@dataclass
class First:
    """An edit of the model as it came: its patch, the seconds it took, and what it then said."""

    patch: lib.Patch
    seconds: float
    look: tuple[Subject, tuple[Row, ...]] | None = None


class Writing:
    """The part of the studio that edits."""

    lm: lib.LM
    reader: Reader
    unedited: keep.Said
    worker: Any
    ready: str
    editors: Callable[[], dict[str, tuple[str, str]]]
    settings: Callable[[str], dict[str, int | None]]
    kind: Callable[[str], type[lib.Editor]]
    example: Callable[[str], lib.Case]
    subject: Callable[..., Subject]

    def __init__(self, lm: lib.LM) -> None:
        super().__init__(lm)
        self.firsts: OrderedDict[tuple, First] = OrderedDict()
        self._passes: dict[tuple, int] = {}  # (editor, steps) -> how many the last edit took
        self._warm: dict[str, lib.Editor] = {}

    def warm_up(self) -> None:
        """Edit the ready example in the background; whoever comes goes first."""
        fact = self.example(self.ready).fact
        subject = self.subject(fact.subject, fact.prompt, fact.target_new)

        def unedited(job: Job) -> None:
            self.unedited.read(job, self.lm, lib.EMPTY, [subject.case.fact.text])

        def step(editor: str) -> Callable[[Job], Any]:
            def work(job: Job) -> None:
                first = self._patch(job, editor, subject, lib.EMPTY, {}, 0.0, 0.5)
                self._look(job, subject, first, 0.5, 1.0, "Warming up")

            return work

        names = [editor for editor in WARM if editor in self.editors()]
        self.worker.whenever(unedited, *map(step, names))

    def _column(
        self, job: Job, editor: str, subject: Subject, start: lib.Patch, settings: dict[str, int],
        begin: float, end: float, several: bool,
    ) -> Iterator[None]:  # fmt: skip
        """What one editor makes of the fact; with several a failure is a column of its own."""
        name, middle = self.editors()[editor][0], begin + (end - begin) * 0.7
        try:
            made = self._patch(job, editor, subject, start, settings, begin, middle)
        except (ValueError, lib.OwnerError) as error:
            if not several:
                raise
            return Column(editor, name, error=str(error))
        yield
        rows = self._look(job, subject, made, middle, end, f"Asking all again under {name}")
        yield
        return Column(editor, name, rows, made.patch, made.seconds)

    def _look(
        self, job: Job, subject: Subject, made: First, begin: float, end: float, words: str
    ) -> tuple[Row, ...]:
        """The rows of a subject under an edit; those of a first edit are kept for the next."""
        if made.look is None or made.look[0] != subject:
            rows = self.reader.look(job, subject, made.patch, begin, end=end, words=words)
            made.look = subject, rows
        for old in list(self.firsts.values())[:-LOOKS]:
            old.look = None
        return made.look[1]

    def _editor(self, name: str, settings: dict[str, int]) -> lib.Editor:
        """The editor; those of the warm-up are kept, with what they computed once for the model."""
        if settings or name not in WARM:
            return self.kind(name)(self.lm, **settings)
        if name not in self._warm:
            self._warm[name] = self.kind(name)(self.lm)
        return self._warm[name]

    def _patch(
        self, job: Job, editor: str, subject: Subject, start: lib.Patch, settings: dict[str, int],
        begin: float, end: float,
    ) -> First:  # fmt: skip
        """The fact written by one editor; a first edit is kept."""
        fact, name = subject.case.fact, self.editors()[editor][0]
        first = editor, fact, tuple(sorted(settings.items(), key=lambda item: item[0]))
        if not start and first in self.firsts:
            self.firsts.move_to_end(first)
            return self.firsts[first]
        steps = next((settings[word] for word in STEPS if word in settings), None)
        key = editor, steps or self.settings(editor)["steps"]
        expected = self._passes.get(key, (key[1] or 0) + 14)
        began = time.perf_counter()
        with job.counting(self.lm, f"{name} is writing", expected, begin, end) as passes:
            patch = self._editor(editor, settings).edit([fact], after=start)
        made = First(patch, time.perf_counter() - began)
        self._passes[key] = passes()
        if not start:
            self.firsts[first] = made
            while len(self.firsts) > READY:
                self.firsts.popitem(last=False)
        return made
