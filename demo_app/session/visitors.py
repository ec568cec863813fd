"""Who is on the page: one session per visitor, kept on the server under the id of the open page.

Sessions are bounded in number, and dropped after an hour of silence or when the visitor leaves, so
that nobody's edits stay in memory and no file of theirs on the disk.
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

KEY = 200  # characters of a visitor's id
ASIDE = 2  # long jobs of one visitor at once
SOON = 30.0  # seconds after which a session that holds nothing is dropped
LATE = 10.0  # seconds in which a call of somebody who has left can still arrive


@dataclass
class Session:
    """One visitor: the edits, what is in view, and the jobs that run.

    edits: those that are applied, the newest last.
    warning: a sentence where these edits have begun to break the model.
    view: the last table shown.
    layers: the last edit in several layers, of which the visitor may take one.
    trial: the changed weights that are examined, a `tracing.Trial`.
    jobs: jobs that were started.
    files: paths of files that were made for the visitor.
    left: whether the visitor was forgotten; what is still made for them is kept no more.
    seen: when the visitor last did something, in seconds of the monotonic clock.
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
        """Whether a new session would be the same: nothing was made, and nothing runs."""
        held = self.edits or self.files or self.view or self.trial
        return not held and all(job.ended.done() for job in self.jobs)

    @property
    def patch(self) -> lib.Patch:
        """All of the visitor's edits."""
        return patch_of(self.edits)

    @property
    def before(self) -> list[Job]:
        """Jobs that are done before the next one, and may change the edits until then."""
        return [job for job in self.jobs if not (job.aside or job.ended.done())]

    def submit(self, worker: Worker, work: Work, aside: bool = False, partial: Any = None) -> Job:
        """Put work in line; what a visitor asks for is done in the order in which it came.

        aside: the work is long and changes no edit, so nothing waits for it; there may be two of
        these. partial: what is shown of the result until the work tells more.
        """
        running = [old for old in self.jobs if not old.ended.done()]
        long = [f"“{old.progress.words}”" for old in running if old.aside]
        if aside and len(long) >= ASIDE:
            both = " and ".join(long)
            raise Trouble(f"Two long questions of yours are under way, {both}: stop one, or wait.")
        before = self.before
        after = before[-1] if before and not aside else None
        job = worker.submit(work, after, aside, partial)
        self.jobs = [*running, job]
        return job

    def owns(self, path: Path | str) -> None:
        """Delete a file when the visitor leaves; at once where that has happened already."""
        self.files.add(str(path))
        if self.left:
            discard(Path(path))

    def stop(self, aside: bool | None = None) -> None:
        """End what runs for this visitor: the jobs that are `aside`, the others, or all."""
        for job in self.jobs:
            if aside is None or job.aside is aside:
                job.stop()


class Sessions:
    """Visitors by id: at most `most`, and each only for `idle` seconds without a call.

    Where there are too many, those go first who have nothing to lose, and then the longest silent.

    forgotten: called with the id of every visitor who is dropped, and their files' paths.
    """

    def __init__(self, most: int = 64, idle: float = 3600.0) -> None:
        self.most, self.idle = most, idle
        self.forgotten: Callable[[str, set[str]], None] = lambda key, files: None
        self._all: dict[str, Session] = {}
        self._left: dict[str, float] = {}  # id: when that visitor left
        self._lock = threading.Lock()

    def get(self, key: str | None) -> Session:
        """The visitor's session, a new one where there is none (any more).

        Without an id every call is a visitor of its own, of whom nothing is kept. The same holds
        for a call that was on its way while its visitor left: a session that it opened again
        would stay, with whatever it makes, for nobody.
        """
        if key is None:
            return Session()
        if not isinstance(key, str) or len(key) > KEY:
            raise Trouble(f"A visitor's id is a word of at most {KEY} characters.")
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
        """Forget a visitor who has left, and end everything that runs for them."""
        with self._lock:
            session = self._all.pop(key, None)
            self._left[key] = time.monotonic()
        self._end([(key, session or Session())])

    def _end(self, gone: list[tuple[str, Session]]) -> None:
        """Stop what runs for them, and delete their files, where no other visitor has the same."""
        for key, session in gone:
            session.left = True
            session.stop()
            kept = {path for other in list(self._all.values()) for path in other.files}
            files = session.files - kept
            for path in files:
                discard(Path(path))
            self.forgotten(key, files)


def discard(path: Path) -> None:
    """Delete a file, and its folder where nothing else is in it; what is gone already is gone."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
