"""Races that were run, kept for an hour so that a link brings them back, and so that they go on.

A race is a stress test with a name that nobody can guess. It belongs to the page and not to the
visitor who began it: who has the link may look at it, and go on with it where it was paused. It
ends with its visitor's page like every long run, and what was done by then is kept.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import lib

from ..session.worker import Trouble
from .stress_test import Test

MOST = 16  # races that are kept; one holds a patch for each of its lines until it is finished
IDLE = 3600.0  # seconds
BYTES = 9  # of a race's name

GONE = "This race is not here any more: races are kept for an hour."
RUNS = "This race is running already, in another window: it can go on here when it is paused there."


@dataclass
class Race:
    """A stress test under a name.

    token: its name in the address.
    test: what was found so far.
    runs: whether it is running now.
    seen: when somebody last ran it or looked at it, in seconds of the monotonic clock.
    """

    token: str
    test: Test
    runs: bool = False
    seen: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        """Whether every line has all edits, or has ended early."""
        return all(line.error or line.edits >= len(self.test.cases) for line in self.test.lines)


class Races:
    """Races by name: at most `most`, each for `idle` seconds since somebody has looked at it."""

    def __init__(self, most: int = MOST, idle: float = IDLE) -> None:
        self.most, self.idle = most, idle
        self._all: dict[str, Race] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def keep(self, test: Test) -> Race:
        """A new race; where there are too many the longest unseen that does not run goes."""
        race = Race(secrets.token_urlsafe(BYTES), test)
        with self._lock:
            self._forget()
            resting = sorted((r for r in self._all.values() if not r.runs), key=lambda r: r.seen)
            for old in resting[: max(len(self._all) + 1 - self.most, 0)]:
                del self._all[old.token]
            self._all[race.token] = race
        return race

    def find(self, token: object) -> Race:
        """The race of a name. Raises Trouble where there is none (any more)."""
        with self._lock:
            self._forget()
            race = self._all.get(token) if isinstance(token, str) else None
            if race is None:
                raise Trouble(GONE)
            race.seen = time.monotonic()
            return race

    @contextmanager
    def running(self, race: Race) -> Iterator[None]:
        """Inside it a race runs, and only once. Raises Trouble where it runs already."""
        with self._lock:
            if race.runs:
                raise Trouble(RUNS)
            race.runs = True
        try:
            yield
        finally:
            with self._lock:
                race.runs, race.seen = False, time.monotonic()
            if race.finished:
                for line in race.test.lines:  # nothing goes on from it: what was found is enough
                    line.patch = lib.EMPTY

    def _forget(self) -> None:
        """Drop those that nobody has looked at for too long."""
        now = time.monotonic()
        for race in list(self._all.values()):
            if not race.runs and now - race.seen > self.idle:
                del self._all[race.token]
