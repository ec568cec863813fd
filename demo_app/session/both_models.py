"""The same free prompt continued by two models of the page.

Each model has a worker of its own, so both write at the same time. A visitor's edits belong to the
model in which they were made: that one answers with them, and the other as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .free_text import WRITE, Writer
from .models import Models
from .studio import Studio
from .texts import Text, Writing
from .visitors import Session
from .worker import Job, Progress, Trouble

EVERY = 0.2  # seconds between two sights of the texts


@dataclass(frozen=True)
class Side:
    """What one of the models writes.

    name: the model's.
    text: what it has written so far; None before its first token.
    live: how many edits it answers with.
    """

    name: str
    text: Text | None = None
    live: int = 0


@dataclass(frozen=True)
class Beside:
    """A prompt continued by two models.

    prompt, chat: as they were asked for.
    sides: this page's model, and the other one.
    done: whether both have ended.
    """

    prompt: str
    chat: bool
    sides: tuple[Side, Side]
    done: bool = False


class BothModels:
    """Continues free prompts by the model of a page and by another one."""

    def __init__(self, studio: Studio, models: Models) -> None:
        self.studio, self.models = studio, models

    @property
    def others(self) -> list[str]:
        """The models that may stand beside the page's own."""
        return [name for name in self.models.names if name != self.studio.lm.name]

    def opened(self, name: Any) -> Iterator[Progress]:
        """How far another model is, until it is open. Raises Trouble where it cannot be had.

        It is loaded where it is on this machine, and never fetched from here.
        """
        if name not in self.others:
            self.models.packaged(name)  # raises Trouble for what is no model
            raise Trouble("A model stands beside another one: choose the other.")
        if not self.models.is_here(name):
            raise Trouble(
                f"{name} is not on this machine: choose it at the top, and it will be fetched."
            )
        if self.models.is_open(name):
            return
        coming = self.models.bring(name)
        while not coming.finished.wait(EVERY):
            yield coming.progress
        if coming.error is not None:
            raise Trouble(coming.error)

    def start(
        self,
        session: Session,
        name: str,
        prompt: str,
        chat: bool,
        tokens: int = WRITE,
        temperature: float = 0.0,
    ) -> tuple[Job, Job]:
        """Begin to write with both models; the other one must be open. Raises Trouble."""
        other = self.models.studios.get(name)
        if other is None or name not in self.others:
            raise Trouble(f"{name} is not open.")
        given = prompt, chat, tokens, temperature
        first = Writer(self.studio).write(session, *given)
        try:
            return first, Writer(other).write(other.visitor(), *given)
        except BaseException:
            first.stop()
            raise

    def watch(self, jobs: tuple[Job, Job], name: str) -> Iterator[Beside]:
        """Both texts as they grow, and in the end as they are. Raises what a job ended with."""
        names = self.studio.lm.name, name
        while not all(job.finished.is_set() for job in jobs):
            found = _beside(names, [job.progress.partial for job in jobs])
            if found is not None:
                yield found
            next((job for job in jobs if not job.finished.is_set()), jobs[0]).finished.wait(EVERY)
            if any(job.finished.is_set() and job.error is not None for job in jobs):
                break
        found = _beside(names, [job.outcome() for job in jobs if _over(job)])
        if found is not None:
            yield replace(found, done=True)


def _over(job: Job) -> bool:
    """True for a job that has succeeded; raises the error of one that has not."""
    if job.finished.is_set() and job.error is not None:
        raise job.error
    return job.finished.is_set()


def _beside(names: tuple[str, str], said: list[Writing | None]) -> Beside | None:
    """What both have written so far; None where neither has begun."""
    known = [one for one in said if one is not None]
    if not known:
        return None
    first, second = (_side(name, one) for name, one in zip(names, said, strict=True))
    return Beside(known[0].prompt, known[0].chat, (first, second))


def _side(name: str, said: Writing | None) -> Side:
    """The text with a visitor's edits where there are any, else the unedited model's."""
    if said is None:
        return Side(name)
    pair = said.pairs[0]
    return Side(name, pair.after if said.live else pair.before, said.live)
