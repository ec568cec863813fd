"""A single thread does all model work, fed by a queue; handlers only read their job's progress.

A lock wouldn't work: a web server moves generators between threads, so two visitors could hold the
same re-entrant lock at once. Here, a patch is entered and left within one job, so no visitor sees
another's edits.

Work can be a generator: at each `yield` the model becomes available to other jobs, and this job
    goes to the end of the queue. No patch may stay entered across a `yield`. Background work runs
    when the queue is empty, and makes way for a visitor's job at its next step.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import isgenerator
from typing import Any

import lib
from lib.cancellation import cancellable

log = logging.getLogger(__name__)

WAITING = "waiting for the model"  # status of a job that has not started
EARLY = 0.2  # fraction of a job after which the remaining time can be estimated
USUAL = 0.3  # weight of the latest job in the average job time
FAILED = "An internal error occurred; nothing was changed. Please try again."
NO_MEMORY = "The page ran out of memory; nothing was changed. Please try something smaller."


class Trouble(Exception):
    """A problem, described in one sentence for the visitor."""


class Stopped(Exception):
    """The visitor stopped the job or left the page; nothing was changed."""


class GiveWay(Exception):
    """Background work has to make way for a visitor's job; its current step is repeated later."""


def no_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, in Python, the system or torch."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).casefold()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(word in said for word in ("allocate memory", "out of memory", "enough memory"))
    )


@dataclass(frozen=True)
class Progress:
    """A job's progress: the fraction done (0 to 1), a description, the partial result so far, and
    the estimated seconds left, 0.0 if unknown.
    """

    share: float = 0.0
    words: str = ""
    partial: Any = None
    left: float = 0.0


class Job:
    """One piece of model work: progress while it runs, then the result or error in `ended`."""

    def __init__(
        self, work: Work, after: Job | None = None, aside: bool = False, partial: Any = None
    ) -> None:
        """aside, partial: as in `Session.submit`."""
        self.work, self.after, self.aside = work, after, aside
        self.progress = Progress(words=WAITING, partial=partial)
        self._began: float | None = None  # time of its first report
        self.ended: futures.Future[Any] = futures.Future()
        self.ended.set_running_or_notify_cancel()  # code that waits for it cannot cancel it
        self.held = 0.0  # seconds during which it used the model
        self._stop = threading.Event()
        self._news = threading.Event()
        self._busy = threading.Lock()  # held while one of its steps runs
        self._steps: Iterator | None = None  # for work that pauses between steps
        # for background work: whether another job is waiting
        self.crowded: Callable[[], bool] = lambda: False
        self._move: Callable[[float, str], None] | None = None  # a bar moved by the library

    def stop(self) -> None:
        """Ask the job to end at its next step; a job still in the queue ends immediately."""
        self._stop.set()
        if self._busy.acquire(blocking=False):
            try:
                if not self.ended.done():
                    self._end(Stopped())
            finally:
                self._busy.release()

    def report(self, share: float, words: str, partial: Any = None) -> None:
        """Called by the work itself; keeps the last partial result unless given a new one.

        Raises Stopped if the visitor no longer wants the result.
        """
        self.check()
        partial = self.progress.partial if partial is None else partial
        share, now = min(max(share, 0.0), 1.0), time.monotonic()
        self._began = now if self._began is None else self._began
        left = (now - self._began) * (1 / share - 1) if share >= EARLY else 0.0
        self.progress = Progress(share, words, partial, left)
        self._news.set()

    def on_step(self, doing: str = "", share: float = 0.0) -> None:
        """Called by the library at its steps, with a description and the fraction done."""
        self.check()
        if self._move is not None and doing:
            self._move(share, doing)

    def check(self, *_: Any) -> None:
        """Raise Stopped if the result is no longer wanted, or GiveWay to make way."""
        if self._stop.is_set():
            raise Stopped
        if self.crowded():
            raise GiveWay

    @contextmanager
    def counting(
        self, lm: lib.LM, words: str, expected: int, begin: float, end: float
    ) -> Iterator[Callable[[], int]]:
        """Inside it, every pass through the model's last block moves the bar from begin to end.

        Passes are counted, but their expected number is an estimate, so the bar may reach the end
        early. If 0 are expected, the library's own steps move the bar. Yields a function returning
        the count so far.
        """
        passes = 0

        def move(share: float, doing: str = "") -> None:
            self.report(begin + (end - begin) * share, ": ".join(filter(None, (words, doing))))

        def tick(*_: Any) -> None:
            nonlocal passes
            passes += 1
            move(passes / max(expected, passes))

        self.report(begin, words)
        self._move = None if expected else move
        # check in every block, because a run that only reads keys never reaches the last block
        hooks = [block.register_forward_pre_hook(self.check) for block in lm.blocks[:-1]]
        hooks.append(lm.blocks[-1].register_forward_pre_hook(tick if expected else self.check))
        try:
            yield lambda: passes
        finally:
            self._move = None
            for hook in hooks:
                hook.remove()

    def watch(self, every: float = 0.5, pause: float = 0.05) -> Iterator[Progress]:
        """Yield the progress when it changes, and at regular intervals, until the job ends."""
        while not self.ended.done():
            yield self.progress
            futures.wait([self.ended], pause)
            self._news.wait(every)
            self._news.clear()

    def outcome(self) -> Any:
        """The result of a finished job. Raises its Trouble or Stopped."""
        return self.ended.result()

    def run(self) -> bool:
        """Do the work or its next step (on the worker's thread), and return whether there is more
        to do.
        """
        with self._busy:
            if self.ended.done():
                return False  # stopped while waiting
            result: Any = None
            error: Exception | None = None
            try:
                self.check()
                # covers long stretches in the library that run no block
                with cancellable(self.on_step):
                    result = self.work(self) if self._steps is None else self._steps
                    if isgenerator(result):
                        self._steps = result
                        next(result)
                        return True
            except StopIteration as end:
                result = end.value
            except (Stopped, Trouble, GiveWay) as known:
                error = known
            except ValueError as known:  # from the library, one sentence each
                error = Trouble(str(known))
            except Exception as unknown:
                error = Trouble(NO_MEMORY if no_memory(unknown) else FAILED)
                if not no_memory(unknown):
                    log.exception("a job failed")
            self._end(error, result)
            return False

    def _end(self, error: Exception | None, result: Any = None) -> None:
        self._steps = self.after = None
        if error is None:
            self.ended.set_result(result)
        else:  # its frames would keep the work's objects alive as long as the job
            error.__traceback__ = error.__context__ = error.__cause__ = None
            self.ended.set_exception(error)
        self._news.set()


Work = Callable[[Job], Any]  # the function that a job runs


class Worker:
    """The thread, and its queue."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()  # the first is next
        self._later: deque[Work] = deque()  # background work, for when the queue is empty
        self._closing = False
        self.usual = 0.0  # average seconds that recent jobs used the model
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Work, *given: Any) -> Job:
        """Create a job from these values, add it to the queue, and return it."""
        job = Job(work, *given)
        with self._news:
            self._waiting.append(job)
            self._news.notify()
        return job

    def in_background(self, *steps: Work) -> None:
        """Queue background work, step by step; a step that has to make way starts again later."""
        with self._news:
            self._later.extend(steps)
            self._news.notify()

    @property
    def idle(self) -> bool:
        """Return whether there is nothing to do, including background work."""
        return not self._waiting and not self._later

    def ahead(self, job: Job, own: Collection[Job] = ()) -> int:
        """The number of other visitors' jobs that run before this job's next step; `own` jobs do
        not count.
        """
        waiting = [one for one in list(self._waiting) if not one.ended.done()]
        before = waiting[: waiting.index(job)] if job in waiting else []
        return sum(one not in own for one in before)

    def close(self) -> None:
        """End the thread once the jobs in the queue are done."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def _work(self) -> None:
        """Run step by step, until the queue is closed and empty."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._later or self._closing)
            if self._waiting:
                self._turn(self._waiting[0])
            elif self._closing:
                return
            else:
                self._background()

    def _turn(self, job: Job) -> None:
        """Run one step of the first job, and move it to the end of the queue if it has more."""
        before, began = job.after, time.monotonic()
        early = before is not None and not before.ended.done()
        more = early or self._step(job)
        job.held += time.monotonic() - began
        if not more:
            self.usual += (job.held - self.usual) * (USUAL if self.usual else 1.0)
        self._waiting.popleft()
        if more:
            self._waiting.append(job)

    def _background(self) -> None:
        job = Job(self._later[0])
        job.crowded = lambda: bool(self._waiting) or self._closing
        self._step(job)
        if not isinstance(job.ended.exception(), GiveWay):
            self._later.popleft()

    def _step(self, job: Job) -> bool:
        """Run the job's next step, and return whether there is more to do."""
        try:
            return job.run()
        # for example, no memory left for an error message; the queue must keep running
        except Exception:
            log.exception("a job ended abnormally")
            if not job.ended.done():
                job._end(Trouble(FAILED))
            return False
