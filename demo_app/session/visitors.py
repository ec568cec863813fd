"""The page's visitors: one session each, kept on the server under the id of the open page.

The number of sessions is limited. A session is dropped after an hour of inactivity or when its
visitor leaves, freeing the memory for the edits and deleting any files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lib

from .edits import AppliedEdit, patch_of
from .views import View
from .worker import Job, Trouble, Work, Worker

KEY = 200  # maximum length of a visitor's id
ASIDE = 2  # one visitor's maximum number of simultaneous long jobs
SOON = 30.0  # seconds after which an empty session can be dropped
LATE = 10.0  # seconds during which calls may still arrive from a visitor who has left


@dataclass
class Session:
    """One visitor: their edits, view and running jobs.

    edits: the live edits, the newest last.
    warning: a sentence, if these edits are starting to break the model.
    view: the latest table shown.
    layers: the last edit in several layers; the visitor can keep any of them.
    trial: the changed weights being examined, a `tracing.Trial`.
    jobs: jobs that were started.
    files: paths of files that were made for the visitor.
    left: whether the visitor was dropped; anything still being made for them is discarded.
    seen: the time of the visitor's last action, in seconds of the monotonic clock.
    """

    edits: tuple[AppliedEdit, ...] = ()
    warning: str | None = None
    view: View | None = None
    layers: View | None = None
    trial: Any = None
    jobs: list[Job] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    left: bool = False
    seen: float = field(default_factory=time.monotonic)

    @property
    def empty(self) -> bool:
        """Return whether the session is as good as new, with no contents and no running job."""
        held = self.edits or self.files or self.view or self.trial
        return not held and all(job.ended.done() for job in self.jobs)

    @property
    def patch(self) -> lib.Patch:
        """The patch with all of the visitor's edits."""
        return patch_of(self.edits)

    @property
    def before(self) -> list[Job]:
        """Jobs that run before the next job and may still change the edits."""
        return [job for job in self.jobs if not (job.aside or job.ended.done())]

    def submit(self, worker: Worker, work: Work, aside: bool = False, partial: Any = None) -> Job:
        """Add work to the queue; a visitor's requests run in the order in which they arrived.

        aside: the work is long and doesn't change any edit, so other jobs do not wait for it; at
            most two at a time. partial: the result to show until the work reports more.
        """
        running = [old for old in self.jobs if not old.ended.done()]
        long = [f"“{old.progress.words}”" for old in running if old.aside]
        if aside and len(long) >= ASIDE:
            both = " and ".join(long)
            raise Trouble(
                f"You already have two long questions running, {both}. Stop one, or wait."
            )
        before = self.before
        after = before[-1] if before and not aside else None
        job = worker.submit(work, after, aside, partial)
        self.jobs = [*running, job]
        return job

    def owns(self, path: Path | str) -> None:
        """Delete a file when the visitor leaves, or immediately if they already have."""
        self.files.add(str(path))
        if self.left:
            discard(Path(path))

    def stop(self, aside: bool | None = None) -> None:
        """Stop this visitor's jobs: those that are `aside`, the others, or all."""
        for job in self.jobs:
            if aside is None or job.aside is aside:
                job.stop()


class Sessions:
    """Visitors by id: at most `most`, each kept for `idle` seconds after their last call.

    If there are too many, the first to be dropped are empty sessions, then those inactive the
    longest.

    forgotten: called with the id of every visitor who is dropped, and their files' paths.
    """

    def __init__(self, most: int = 64, idle: float = 3600.0) -> None:
        self.most, self.idle = most, idle
        self.forgotten: Callable[[str, set[str]], None] = lambda key, files: None
        self._all: dict[str, Session] = {}
        self._left: dict[str, float] = {}  # id: the time when that visitor left
        self._lock = threading.Lock()

    def get(self, key: str | None) -> Session:
        """The visitor's session, creating a new one if there is none (or no longer).

        Without an id, every call counts as a separate visitor, and nothing is kept. The same
        applies to a call that was in transit while its visitor left; a session reopened by such a
        call would never be closed.
        """
        if key is None:
            return Session()
        if not isinstance(key, str) or len(key) > KEY:
            raise Trouble(f"A visitor's id should be text of at most {KEY} characters.")
        now, gone = time.monotonic(), []
        with self._lock:
            self._left = {one: when for one, when in self._left.items() if now - when < LATE}
            if key in self._left:
                return Session(left=True)
            session = self._all.setdefault(key, Session())
            session.seen = now
            others = sorted(
                (name for name in self._all if name != key),
                key=lambda name: (not self._all[name].empty, self._all[name].seen),
            )
            for place, name in enumerate(others):
                silent = now - self._all[name].seen
                crowded = len(others) - place >= self.most
                nothing = self._all[name].empty and silent > SOON
                if crowded or nothing or silent > self.idle:
                    gone.append((name, self._all.pop(name)))
        self._end(gone)
        return session

    def drop(self, key: str) -> None:
        """Forget a visitor who has left, and end all their jobs."""
        with self._lock:
            session = self._all.pop(key, None)
            self._left[key] = time.monotonic()
        self._end([(key, session or Session())])

    def _end(self, gone: list[tuple[str, Session]]) -> None:
        """Stop their jobs, and delete their files unless another visitor has the same file."""
        for key, session in gone:
            session.left = True
            session.stop()
            kept = {path for other in list(self._all.values()) for path in other.files}
            files = session.files - kept
            for path in files:
                discard(Path(path))
            self.forgotten(key, files)


def discard(path: Path) -> None:
    """Delete a file if it exists, along with its folder if that is empty."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
