"""The gallery: surprising edits as links, each with what was measured when the gallery was built.

`python -m tests.benchmarks.make_gallery` measures them on the embedded model and writes
gallery.json, with the model's fingerprint; an edit that does not show what its sentence says is not
stored. A link makes the same edits again, on this model, and says whether they come out as stated.
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
KEY = "gallery"  # in the address of the page


@dataclass(frozen=True)
class Step:
    """One edit of an exhibit.

    editor: its name in lib.EDITORS.
    subject, prompt, target: the fact.
    options: settings that differ from the editor's own, one name = value per line.
    others: how many facts of the classroom are written instead, together, in one call.
    """

    editor: str
    subject: str = ""
    prompt: str = ""
    target: str = ""
    options: str = ""
    others: int = 0


@dataclass(frozen=True)
class Said:
    """What the model said to a prompt, before the edits and after them (first sentences).

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
    sentence: what is surprising about it.
    steps: the edits, in their order.
    own: prompts that are asked beside those that test the first fact.
    said: what was measured, of the prompts that the sentence is about.
    """

    key: str
    title: str
    sentence: str
    steps: tuple[Step, ...]
    own: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """All exhibits, and the name and fingerprint of the model on which they were measured."""

    model: str
    fingerprint: str
    exhibits: tuple[Exhibit, ...]


@cache
def gallery(path: Path = FILE) -> Gallery:
    """The gallery that was stored last."""
    return msgspec.json.decode(path.read_bytes(), type=Gallery)


def found(query: Mapping[str, str]) -> Exhibit | None:
    """The exhibit that an address asks for; None where it asks for none that there is."""
    return next((one for one in gallery().exhibits if one.key == query.get(KEY)), None)


def subject(studio: Studio, shown: Exhibit) -> Subject:
    """What an exhibit is about: the fact of its first step, with the exhibit's own prompts."""
    first = shown.steps[0]
    return studio.choices.subject(first.subject, first.prompt, first.target, "\n".join(shown.own))


def take(studio: Studio, session: Session, shown: Exhibit, number: int) -> Job:
    """Make one of an exhibit's edits, by its place from 0, on top of the visitor's: a View."""
    step, wanted = shown.steps[number], subject(studio, shown)
    if step.others:
        return _others(studio, session, step, wanted)
    if number:
        wanted = studio.choices.subject(step.subject, step.prompt, step.target)
    return studio.edit(session, wanted, step.editor, keep="any", more=step.options)


def _others(studio: Studio, session: Session, step: Step, about: Subject) -> Job:
    """Many facts of the classroom in one call, none of them about the exhibit's subject."""
    name = about.case.fact.subject
    facts = [case.fact for case in studio.choices.cases.values() if case.fact.subject != name]
    if len(facts) < step.others:
        raise Trouble(f"This model knows {len(facts)} other facts, fewer than {step.others}.")

    def work(job: Job) -> Generator[None, None, View]:
        held, lm, name = session.edits, studio.lm, studio.choices.editors[step.editor][0]
        words = f"{name} writes {step.others} other facts"
        with job.counting(lm, words, 2 * step.others, 0.0, 0.8):
            patch = studio.choices.writer(step.editor).edit(
                facts[: step.others], after=session.patch, check=False
            )
        yield
        rows = studio.asker.look(job, about, patch, 0.8)
        if session.edits is not held:
            raise Trouble("Your edits changed meanwhile, so this one was not kept: try again.")
        session.edits = (*held, AppliedEdit(patch, name))
        session.view = View(about, rows, len(session.edits), old=studio.asker.old(about))
        return session.view

    return session.submit(studio.worker, work)


def measured(view: View, asked: Sequence[Any]) -> tuple[Said, ...]:
    """What a view says to some prompts, each with a group, in their order.

    The answers are "" to a prompt that the view does not hold, as that in chat form of a model
    that has none.
    """
    rows = {(row.group, row.prompt): row for row in view.rows}
    found = []
    for one in asked:
        row = rows.get((one.group, one.prompt))
        texts = ("", "") if row is None else (row.before, row.after or row.before)
        found.append(Said(one.group, one.prompt, *map(first_sentence, texts)))
    return tuple(found)


def plan(studio: Studio, shown: Exhibit) -> list[Callable[[Session], Job]]:
    """What opens an exhibit, one job after the other; the last one's View is about its subject."""
    jobs = [partial(take, studio, shown=shown, number=i) for i in range(len(shown.steps))]
    if len(jobs) > 1 and not shown.steps[-1].others:
        jobs.append(lambda session: studio.look(session, subject(studio, shown)))
    return jobs
