"""The calls of programs that run, by the number that the web server gave them, so that each stops.

A program cancels one of its calls by that number. What is cancelled before its work has begun is
remembered, so that the work ends as soon as it would begin.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED = 1000  # numbers of calls that were cancelled before they began


class Calls:
    """How to stop each call that runs."""

    def __init__(self) -> None:
        self._stops: dict[str, Callable[[], None]] = {}
        self._early: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._stops)

    @contextmanager
    def running(self, call: str | None, stop: Callable[[], None]) -> Iterator[None]:
        """In the body the call can be stopped; None is a call that nobody can name."""
        if call is None:
            yield
            return
        with self._lock:
            self._stops[call] = stop
            early = call in self._early
            self._early.pop(call, None)
        if early:
            stop()
        try:
            yield
        finally:
            with self._lock:
                del self._stops[call]

    def stop(self, call: str) -> None:
        """End a call that runs, or that is about to begin."""
        with self._lock:
            stop = self._stops.get(call)
            if stop is None:
                self._early[call] = None
                while len(self._early) > REMEMBERED:
                    self._early.popitem(last=False)
        if stop is not None:
            stop()
