"""Who is on the page: one session per visitor, kept on the server under the id of the open page.

Sessions are bounded in number, and dropped after an hour of silence or when the visitor leaves, so
that nobody's edits stay in memory.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lib

from .edits import AppliedEdit, Point
from .predictions import Prediction
from .views import View
from .worker import Job, Worker


@dataclass
class Session:
    """One visitor: the edits, what is in view, and the jobs that run.

    patches: one per applied edit, newest last; each holds its edit and all before it.
    view: the last table shown.
    foretold: the last prediction of which facts an edit will disturb.
    edits: the list that the visitor sees, with the edits that are left out.
    folds: patches by the numbers of the edits in them, so that putting a switch back gives the very
        same patch.
    points: what was measured, by the numbers of the applied edits.
    jobs: jobs and long runs that were started.
    seen: when the visitor last did something, in seconds of the monotonic clock.
    """

    patches: list[lib.Patch] = field(default_factory=list)
    view: View | None = None
    foretold: Prediction | None = None
    edits: list[AppliedEdit] = field(default_factory=list)
    folds: dict[tuple[int, ...], lib.Patch] = field(default_factory=dict)
    points: dict[tuple[int, ...], Point] = field(default_factory=dict)
    jobs: list[Any] = field(default_factory=list)  # Job, or a LongRun, which stops like one
    seen: float = field(default_factory=time.monotonic)

    @property
    def patch(self) -> lib.Patch:
        """All of the visitor's edits."""
        return self.patches[-1] if self.patches else lib.EMPTY

    def submit(self, worker: Worker, work: Callable[[Job], Any]) -> Job:
        """Put work in line; a visitor's jobs are done in the order in which they came."""
        running = [old for old in self.jobs if not old.finished.is_set()]
        before = next((old for old in reversed(running) if isinstance(old, Job)), None)
        job = worker.submit(work, after=before)
        self.jobs = [*running, job]
        return job

    def stop(self) -> None:
        """End everything that runs for this visitor."""
        for job in self.jobs:
            job.stop()


class Sessions:
    """Visitors by id: at most `most`, dropped after `idle` seconds without a call, oldest first."""

    def __init__(self, most: int = 64, idle: float = 3600.0) -> None:
        self.most, self.idle = most, idle
        self._all: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: str) -> Session:
        """The visitor's session, a new one where there is none (any more)."""
        now = time.monotonic()
        with self._lock:
            session = self._all.setdefault(key, Session())
            session.seen = now
            self._all.move_to_end(key)
            while len(self._all) > 1:
                oldest = next(iter(self._all.values()))
                if len(self._all) <= self.most and now - oldest.seen < self.idle:
                    break
                self._all.popitem(last=False)[1].stop()
        return session

    def drop(self, key: str) -> None:
        """Forget a visitor who has left, and end everything that runs for them."""
        with self._lock:
            session = self._all.pop(key, None)
        if session is not None:
            session.stop()
