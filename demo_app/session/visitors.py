"""Who is on the page: a session per visitor, on the server by id, bounded in number and time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import lib

from .edit_list import Kept, Point
from .views import View
from .worker import Job

if TYPE_CHECKING:
    from .interference import Prediction


@dataclass
class Session:
    """One visitor: his edits, newest last, each with the patch that holds it and all before it.

    edits: the list he sees, those left out included; folds: patches by the numbers of the edits in
    them, so that a switch put back gives the very same patch; points: what was measured there.
    """

    patches: list[lib.Patch] = field(default_factory=list)
    view: View | None = None
    foretold: Prediction | None = None  # whom the edit in the form will disturb
    edits: list[Kept] = field(default_factory=list)
    folds: dict[tuple[int, ...], lib.Patch] = field(default_factory=dict)
    points: dict[tuple[int, ...], Point] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    seen: float = field(default_factory=time.monotonic)

    @property
    def patch(self) -> lib.Patch:
        """All of the visitor's edits."""
        return self.patches[-1] if self.patches else lib.EMPTY

    def stop(self) -> None:
        """End what runs for this visitor."""
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
        """Forget a visitor who has left, and end what runs for him."""
        with self._lock:
            session = self._all.pop(key, None)
        if session is not None:
            session.stop()
