"""One thread does all model work, fed by a queue; handlers only read their job's progress.

A lock would not do: a web server moves generators between threads, so two visitors could stand
inside the same re-entrant lock at once. Here a patch is entered and left inside one job, so nobody
sees another's edits.

Work may be a generator: at each `yield` the model goes to whoever waits, and the job goes to the
end of the line. No patch may be entered across a `yield`. Background work runs while nobody waits,
and makes room at its next step for anyone who comes.
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

WAITING = "waiting for the model"  # of a job that has not begun
EARLY = 0.2  # share of a job from which on the seconds that are left can be told
USUAL = 0.3  # weight of a job in the usual time of one
FAILED = "Something failed inside; nothing was changed. Please try again."
NO_MEMORY = (
    "This needs more memory than the page has; nothing was changed. Please try something smaller."
)


class Trouble(Exception):
    """Something went wrong; the message says it in one sentence that a visitor can read."""


class Stopped(Exception):
    """The visitor stopped the job or left the page; nothing was changed."""


class GiveWay(Exception):
    """Background work met a visitor's job; its present step is done again later."""


def no_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not given: Python's, the system's or torch's."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).casefold()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(word in said for word in ("allocate memory", "out of memory", "enough memory"))
    )


@dataclass(frozen=True)
class Progress:
    """How far a job is: its share done (0 to 1), in words, what is there of its result so far, and
    about how many seconds are left; 0.0 while that is not known.
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
        self._began: float | None = None  # when it first had something to tell
        self.ended: futures.Future[Any] = futures.Future()
        self.ended.set_running_or_notify_cancel()  # who waits for it cannot cancel it
        self.held = 0.0  # seconds for which it had the model
        self._stop = threading.Event()
        self._news = threading.Event()
        self._busy = threading.Lock()  # held while one of its steps runs
        self._steps: Iterator | None = None  # of work that gives the model back in between
        self.crowded: Callable[[], bool] = lambda: False  # of background work: whether one waits
        self._move: Callable[[float, str], None] | None = None  # a bar that the library moves

    def stop(self) -> None:
        """Ask the job to end at its next step; one that waits in line ends at once."""
        self._stop.set()
        if self._busy.acquire(blocking=False):
            try:
                if not self.ended.done():
                    self._end(Stopped())
            finally:
                self._busy.release()

    def report(self, share: float, words: str, partial: Any = None) -> None:
        """Called by the work itself; without a partial result the last one stands.

        Raises Stopped when the visitor does not want it any more.
        """
        self.check()
        partial = self.progress.partial if partial is None else partial
        share, now = min(max(share, 0.0), 1.0), time.monotonic()
        self._began = now if self._began is None else self._began
        left = (now - self._began) * (1 / share - 1) if share >= EARLY else 0.0
        self.progress = Progress(share, words, partial, left)
        self._news.set()

    def told(self, doing: str = "", share: float = 0.0) -> None:
        """Called by the library at its steps, which say what they do and how far they are."""
        self.check()
        if self._move is not None and doing:
            self._move(share, doing)

    def check(self, *_: Any) -> None:
        """Raise Stopped when nobody wants the result any more, GiveWay where one must make room."""
        if self._stop.is_set():
            raise Stopped
        if self.crowded():
            raise GiveWay

    @contextmanager
    def counting(
        self, lm: lib.LM, words: str, expected: int, begin: float, end: float
    ) -> Iterator[Callable[[], int]]:
        """Inside it every pass through the model's last block moves the bar from begin to end.

        The count is real; how many there will be is an estimate, so the bar may arrive early. With
        0 expected the library's own steps move it. Yields a function that gives the count so far.
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
        # every block asks whether to go on: a run that reads keys never comes to the last
        hooks = [block.register_forward_pre_hook(self.check) for block in lm.blocks[:-1]]
        hooks.append(lm.blocks[-1].register_forward_pre_hook(tick if expected else self.check))
        try:
            yield lambda: passes
        finally:
            self._move = None
            for hook in hooks:
                hook.remove()

    def watch(self, every: float = 0.5, pause: float = 0.05) -> Iterator[Progress]:
        """Progress when there is news, and every so often, until the job is finished."""
        while not self.ended.done():
            yield self.progress
            futures.wait([self.ended], pause)
            self._news.wait(every)
            self._news.clear()

    def outcome(self) -> Any:
        """The result of a finished job; raises its Trouble or Stopped."""
        return self.ended.result()

    def run(self) -> bool:
        """Do the work, or its next step (on the worker's thread); whether there is more to do."""
        with self._busy:
            if self.ended.done():
                return False  # stopped while it waited
            result: Any = None
            error: Exception | None = None
            try:
                self.check()
                with cancellable(self.told):  # the library, where it runs no block for long
                    result = self.work(self) if self._steps is None else self._steps
                    if isgenerator(result):
                        self._steps = result
                        next(result)
                        return True
            except StopIteration as end:
                result = end.value
            except (Stopped, Trouble, GiveWay) as known:
                error = known
            except ValueError as known:  # the library's: one sentence each
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
        else:  # its frames would hold what the work held, for as long as the job
            error.__traceback__ = error.__context__ = error.__cause__ = None
            self.ended.set_exception(error)
        self._news.set()


Work = Callable[[Job], Any]  # what a job does


class Worker:
    """The thread, and the line in front of it."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()  # the first one's turn it is
        self._later: deque[Work] = deque()  # background work, when nobody waits
        self._closing = False
        self.usual = 0.0  # seconds that a job holds the model, as the last ones did
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Work, *given: Any) -> Job:
        """Put a job in line, made of these values, and return it at once."""
        job = Job(work, *given)
        with self._news:
            self._waiting.append(job)
            self._news.notify()
        return job

    def whenever(self, *steps: Work) -> None:
        """Work for when nobody waits, step by step; one that has to make room is begun again."""
        with self._news:
            self._later.extend(steps)
            self._news.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, in the background either."""
        return not self._waiting and not self._later

    def ahead(self, job: Job, own: Collection[Job] = ()) -> int:
        """How many jobs of others have their turn before this one's next; `own` are not counted."""
        waiting = [one for one in list(self._waiting) if not one.ended.done()]
        before = waiting[: waiting.index(job)] if job in waiting else []
        return sum(one not in own for one in before)

    def close(self) -> None:
        """End the thread behind the jobs that are in line."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def _work(self) -> None:
        """Step by step, until the line is closed and empty."""
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
        """One step of the first job, which then goes to the end of the line if it has more."""
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
        """The job's next step; whether there is more to do."""
        try:
            return job.run()
        except Exception:  # as of memory that lacks for the words of an error: the line goes on
            log.exception("a job could not be run to its end")
            if not job.ended.done():
                job._end(Trouble(FAILED))
            return False
