"""One thread does all model work, fed by a queue; handlers only read their job's progress.

Two visitors can stand inside the same re-entrant lock at once when a web server moves generators
between threads. Here a patch is entered and left inside one job, so nobody sees another's edits.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lib

log = logging.getLogger(__name__)


class Trouble(Exception):
    """What went wrong, in one sentence a visitor can read."""


class Stopped(Exception):
    """The visitor stopped the job or left the page; nothing was changed."""


@dataclass(frozen=True)
class Progress:
    """How far a job is: its share done (0 to 1), in words, and text written so far."""

    share: float = 0.0
    words: str = ""
    partial: Any = None


class Job:
    """One piece of model work: progress while it runs, then `result` or `error`."""

    def __init__(self, work: Callable[[Job], Any]) -> None:
        self.work = work
        self.progress = Progress(words="waiting for the model")
        self.result: Any = None
        self.error: Exception | None = None
        self.finished = threading.Event()
        self._stop = threading.Event()
        self._news = threading.Event()
        self._begin = threading.Lock()  # held while it is decided whether the job begins at all

    def stop(self) -> None:
        """Ask the job to end at its next step; one that still waits in line ends at once."""
        self._stop.set()
        if self._begin.acquire(blocking=False):
            self._end(Stopped())

    def report(self, share: float, words: str, partial: Any = None) -> None:
        """Called by the work itself. Raises Stopped when the visitor does not want it any more."""
        if self._stop.is_set():
            raise Stopped
        self.progress = Progress(min(max(share, 0.0), 1.0), words, partial)
        self._news.set()

    @contextmanager
    def counting(
        self, lm: lib.LM, words: str, expected: int, begin: float, end: float
    ) -> Iterator[Callable[[], int]]:
        """Inside it every pass through the model's last block moves the bar from begin to end.

        The count is real; how many there will be is an estimate, so the bar may arrive early.
        Yields a function that gives the count so far.
        """
        passes = 0

        def tick(*_: Any) -> None:
            nonlocal passes
            passes += 1
            share = min(passes / max(expected, 1), 1.0)
            count = f"{words}: step {passes} of about {max(expected, passes)}"
            self.report(begin + (end - begin) * share, count)

        self.report(begin, words)
        hook = lm.blocks[-1].register_forward_pre_hook(tick)
        try:
            yield lambda: passes
        finally:
            hook.remove()

    def watch(self, every: float = 0.5, pause: float = 0.05) -> Iterator[Progress]:
        """Progress when there is news, and every so often, until the job is finished."""
        while not self.finished.is_set():
            yield self.progress
            self.finished.wait(pause)
            self._news.wait(every)
            self._news.clear()

    def outcome(self) -> Any:
        """The result of a finished job; raises its Trouble or Stopped."""
        self.finished.wait()
        if self.error is not None:
            raise self.error
        return self.result

    def run(self) -> None:
        """Do the work (on the worker's thread) and keep what came of it."""
        if not self._begin.acquire(blocking=False):
            return  # stopped while it waited
        error: Exception | None = None
        try:
            self.result = self.work(self)
        except (Stopped, Trouble) as known:
            error = known
        except (ValueError, lib.OwnerError) as known:  # the library's errors are one sentence each
            error = Trouble(str(known))
        except Exception:
            log.exception("a job failed")
            error = Trouble("Something failed inside; nothing was changed. Please try again.")
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        self.error = error
        self.finished.set()
        self._news.set()


class Worker:
    """The thread, and the line in front of it."""

    def __init__(self) -> None:
        self._line: queue.Queue[Job | None] = queue.Queue()
        self._waiting: deque[Job] = deque()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Put work in line and return its job at once."""
        job = Job(work)
        self._waiting.append(job)
        self._line.put(job)
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs will be finished before this one begins."""
        waiting = [one for one in list(self._waiting) if not one.finished.is_set()]
        return waiting.index(job) if job in waiting else 0

    def close(self) -> None:
        """End the thread behind the jobs that are in line."""
        self._line.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._line.get()) is not None:
            job.run()
            self._waiting.remove(job)
