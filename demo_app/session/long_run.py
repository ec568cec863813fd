"""Long work as a chain of small jobs, so that others are served between two of them.

A long run stands among its visitor's jobs: stopping those, or leaving the page, ends the run too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import lib

from .studio import Studio
from .visitors import Session
from .worker import Job, Progress, Stopped, Trouble

RUNS = 2  # long runs of one visitor at once


class LongRun:
    """One visitor's long run: jobs one after the other, and what it works on."""

    def __init__(self, studio: Studio, session: Session) -> None:
        self.studio, self.session = studio, session
        self.finished = threading.Event()
        self._stop = threading.Event()
        self._job: Job | None = None
        running = [job for job in session.jobs if not job.finished.is_set()]
        if sum(isinstance(job, LongRun) for job in running) >= RUNS:
            raise Trouble("Two long runs of yours are under way: wait for one, or stop it.")
        session.jobs = [*running, self]

    def stop(self) -> None:
        """End the run at the next step of its present job."""
        self._stop.set()
        if (job := self._job) is not None:
            job.stop()

    @property
    def stopped(self) -> bool:
        """Whether somebody wants it to end."""
        return self._stop.is_set()

    def close(self) -> None:
        """The run is over, with or without a result."""
        self.stop()
        self.finished.set()

    def do(self, work: Callable[[Job], Any]) -> Generator[Progress, None, Any]:
        """One job: its progress is yielded, its result returned; Stopped and Trouble are raised."""
        if self.stopped:
            raise Stopped
        return (yield from self.follow(self.studio.worker.submit(work)))

    def follow(self, job: Job) -> Generator[Progress, None, Any]:
        """A job that stands in line already, as part of this run."""
        self._job = job
        if self.stopped:  # while it was put there
            job.stop()
        yield from job.watch()
        return job.outcome()

    def ahead(self) -> int:
        """How many jobs come before the present one."""
        return self.studio.worker.ahead(self._job) if self._job is not None else 0


@contextmanager
def ticking(
    job: Job, lm: lib.LM, words: str, passes: float, begin: float = 0.0, end: float = 1.0
) -> Iterator[None]:
    """Inside it every block that runs moves the bar, and ends the work where it is not wanted.

    All blocks, not the last one: a run that reads keys never comes to the last. `passes` is a guess
    of how often the whole model runs.
    """
    done = 0

    def tick(*_: Any) -> None:
        nonlocal done
        done += 1
        share = min(done / (passes * lm.n_layers), 1.0)
        job.report(begin + (end - begin) * share, words)

    job.report(begin, words)
    hooks = [block.register_forward_pre_hook(tick) for block in lm.blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
