"""A visitor's edits as a list of values: adding one, removing one, and testing them all.

Patches are values, so a list of edits is a list of patches, each containing its edit and all
earlier edits. To remove an edit, the editors write the later edits again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import lib
from lib.data.texts import HELD_OUT

from . import verdicts
from .asking import Asker
from .views import Row, Subject
from .worker import Job

TEXT = 900  # characters of held-out text for the perplexity
BREAKS = 1.25  # warn if the perplexity is at least this many times the base model's


@dataclass(frozen=True)
class AppliedEdit:
    """One edit in a visitor's list.

    patch: the patch with this edit and all earlier edits.
    name: the editor's name on the page.
    row: the fact's own prompt, answered under the whole list; None if not tested yet.
    """

    patch: lib.Patch
    name: str
    row: Row | None = None

    @property
    def line(self) -> lib.Edit:
        """The edit's entry in the log of its patch."""
        return self.patch.log[-1]

    @property
    def fact(self) -> lib.Fact:
        """Its (first) fact."""
        return self.line.facts[0]


def patch_of(edits: Sequence[AppliedEdit]) -> lib.Patch:
    """A list of edits as a single patch."""
    return edits[-1].patch if edits else lib.EMPTY


def without(
    job: Job, lm: lib.LM, edits: Sequence[AppliedEdit], place: int
) -> Generator[None, None, tuple[AppliedEdit, ...]]:
    """The list without one of its edits, pausing after writing each later edit again."""
    kept, later = list(edits[:place]), edits[place + 1 :]
    for number, edit in enumerate(later):
        before = kept[-1].patch if kept else lib.EMPTY
        share = number / len(later)
        job.report(share, f"Writing edit {place + 1 + number} again")
        line, words = edit.line, f"{edit.name} is writing again"
        with job.counting(lm, words, 30, share, share + 1 / len(later)):
            writer = lib.EDITORS[line.editor](lm, **line.settings)
            patch = writer.edit(line.facts, after=before, check=False)
        # a different list of edits comes before it now
        kept.append(replace(edit, patch=patch, row=None))
        yield
    return tuple(kept)


class Health:
    """Tests whether edits still hold, and whether the edited model still predicts text well.

    base: the unedited model's perplexity; None until it is measured.
    """

    def __init__(self, lm: lib.LM, asker: Asker) -> None:
        self.lm, self.asker, self.base = lm, asker, None
        self.text = HELD_OUT.read_text(encoding="utf-8")[:TEXT]

    def checked(
        self, job: Job, edits: Sequence[AppliedEdit]
    ) -> tuple[tuple[AppliedEdit, ...], str | None]:
        """The edits with their prompts' current answers, and a warning or None."""
        if not edits:
            return (), None
        self.read(job)
        rows = [
            edit.row or self._written(job, edit, patch_of(edits[:place]))
            for place, edit in enumerate(edits)
        ]
        words, patch = "Testing whether your edits hold", edits[-1].patch
        targets = [edit.fact.target_new for edit in edits]
        asks = [(edit.fact.text, False) for edit in edits]
        answers, _ = self.asker.ask(job, asks, max(targets, key=len), patch, words, 0.9, 1.0)
        with self.lm.patched(patch, only=True):
            found = lib.perplexity(self.lm, self.text)
        now = (
            replace(edit, row=verdicts.judged(replace(row, after=answer.text), target))
            for edit, row, answer, target in zip(edits, rows, answers, targets, strict=True)
        )
        return tuple(now), warning(found, self.base)

    def _written(self, job: Job, edit: AppliedEdit, start: lib.Patch) -> Row:
        """Test the prompt of an edit for the first time, on top of the edits before it."""
        subject = Subject(lib.Case(edit.fact))
        return self.asker.look(job, subject, edit.patch, 0.9, end=0.9, start=start, only=1)[0]

    def read(self, job: Job) -> None:
        """Measure the unedited model's perplexity, once."""
        if self.base is None:
            words = "Reading a page of text"
            with job.counting(self.lm, words, 1, 0.0, 0.1), self.lm.patched(lib.EMPTY, only=True):
                self.base = lib.perplexity(self.lm, self.text)


def warning(found: float, base: float) -> str | None:
    """A warning sentence, if ordinary text has become clearly less probable."""
    times = found / base
    if times < BREAKS:
        return None
    begun = "is beginning to break" if times < 2 else "is broken"
    return (
        f"The model {begun}: its perplexity on an ordinary text is {found:.3g}, "
        f"{times:.3g} times the unedited model's {base:.3g}."
    )
