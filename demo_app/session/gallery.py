"""The gallery: surprising edits as links, each with answers measured when the gallery was built.

`python -m tests.benchmarks.make_gallery` measures them on the default model and writes gallery.json
with the model's fingerprint, leaving out an edit if it doesn't show what its sentence claims. A
link makes the same edits again, on this model, and reports whether the answers match.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

from .edits import AppliedEdit
from .studio import Studio
from .views import Subject, View, first_sentence
from .visitors import Session
from .worker import Job, Trouble

FILE = Path(__file__).parents[1] / "gallery.json"
KEY = "gallery"  # the parameter in the page's address


@dataclass(frozen=True)
class Step:
    """One edit in an exhibit.

    editor: its name in lib.EDITORS.
    subject, prompt, target: the fact.
    options: settings that differ from the editor's own, one name = value per line.
    others: instead of one fact, write this number of built-in facts in a single call.
    """

    editor: str
    subject: str = ""
    prompt: str = ""
    target: str = ""
    options: str = ""
    others: int = 0


@dataclass(frozen=True)
class Said:
    """The model's answers to a prompt before and after the edits (first sentences).

    group: the kind of prompt, as in views.Row.
    """

    group: str
    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class Exhibit:
    """A surprising edit.

    key: its name in the address, ?gallery=key.
    title: a few words.
    sentence: a description of the surprise.
    steps: the edits, in order.
    own: prompts in addition to the tests of the first fact.
    said: the measured answers to the prompts mentioned in the sentence.
    """

    key: str
    title: str
    sentence: str
    steps: tuple[Step, ...]
    own: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """All exhibits, with the name and fingerprint of the model they were measured on."""

    model: str
    fingerprint: str
    exhibits: tuple[Exhibit, ...]


@cache
def gallery(path: Path = FILE) -> Gallery:
    """The stored gallery."""
    return msgspec.json.decode(path.read_bytes(), type=Gallery)


def found(query: Mapping[str, str]) -> Exhibit | None:
    """The exhibit named in an address, or None if it doesn't name a known exhibit."""
    return next((one for one in gallery().exhibits if one.key == query.get(KEY)), None)


def subject(studio: Studio, shown: Exhibit) -> Subject:
    """An exhibit's subject: the fact from its first step, with the exhibit's own prompts."""
    first = shown.steps[0]
    return studio.choices.subject(first.subject, first.prompt, first.target, "\n".join(shown.own))


def take(studio: Studio, session: Session, shown: Exhibit, number: int) -> Job:
    """Make one of an exhibit's edits, by its index from 0, on top of the visitor's: a View."""
    step, wanted = shown.steps[number], subject(studio, shown)
    if step.others:
        return _others(studio, session, step, wanted)
    if number:
        wanted = studio.choices.subject(step.subject, step.prompt, step.target)
    return studio.edit(session, wanted, step.editor, keep="any", more=step.options)


def _others(studio: Studio, session: Session, step: Step, about: Subject) -> Job:
    """Write many built-in facts in one call, none of them about the exhibit's subject."""
    name = about.case.fact.subject
    facts = [case.fact for case in studio.choices.cases.values() if case.fact.subject != name]
    if len(facts) < step.others:
        raise Trouble(f"This model knows {len(facts)} other facts, fewer than {step.others}.")

    def work(job: Job) -> Generator[None, None, View]:
        held, lm, name = session.edits, studio.lm, studio.choices.editors[step.editor][0]
        words = f"{name} is writing {step.others} other facts"
        with job.counting(lm, words, 2 * step.others, 0.0, 0.8):
            patch = studio.choices.writer(step.editor).edit(
                facts[: step.others], after=session.patch, check=False
            )
        yield
        rows = studio.asker.look(job, about, patch, 0.8)
        if session.edits is not held:
            raise Trouble(
                "Your edits changed in the meantime, so this one was not kept. Try again."
            )
        session.edits = (*held, AppliedEdit(patch, name))
        session.view = View(about, rows, len(session.edits), old=studio.asker.old(about))
        return session.view

    return session.submit(studio.worker, work)


def measured(view: View, asked: Sequence[Any]) -> tuple[Said, ...]:
    """A view's answers to some prompts, each with a group, in the given order.

    An answer is "" if the view doesn't contain the prompt, for example a chat prompt for a model
    without a chat template.
    """
    rows = {(row.group, row.prompt): row for row in view.rows}
    found = []
    for one in asked:
        row = rows.get((one.group, one.prompt))
        texts = ("", "") if row is None else (row.before, row.after or row.before)
        found.append(Said(one.group, one.prompt, *map(first_sentence, texts)))
    return tuple(found)


def plan(studio: Studio, shown: Exhibit) -> list[Callable[[Session], Job]]:
    """The jobs that open an exhibit, in order; the last job's View is about its subject."""
    jobs = [partial(take, studio, shown=shown, number=i) for i in range(len(shown.steps))]
    if len(jobs) > 1 and not shown.steps[-1].others:
        jobs.append(lambda session: studio.look(session, subject(studio, shown)))
    return jobs
