"""The lock of a model, which has one owner at a time; the owner is a token and not a thread.

A re-entrant thread lock does not keep visitors apart. A web server runs each step of a generator on
any worker thread, so two visitors can stand inside the same re-entrant lock at once. Here the lock
is a plain one, held on behalf of a token in a context variable. Code that finds the lock held by
its own token goes on, and any other code waits. Nothing may yield while it is held. Where that
happens, the next caller that comes on the same thread gets an error at once.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

from ..errors import OwnerError


class _Token:
    """The holder of the lock.

    generators  the stack frames of the generators that were running when the lock was taken.
    running     a lock within the owner, for one forward at a time.
    streams     threads that generate text on behalf of the owner.
    """

    def __init__(self) -> None:
        self.generators = _generators()
        self.running = threading.RLock()
        self.streams: list[threading.Thread] = []


class Owner:
    """The lock of one model; `with owner.hold():` is re-entrant by token and not by thread.

    patience  seconds to wait for another owner.
    token     the token of the present owner, None where there is none.
    """

    def __init__(self, patience: float = 600.0) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self.token: _Token | None = None
        self._mine: ContextVar[_Token | None] = ContextVar("owner", default=None)

    @property
    def held(self) -> bool:
        """Whether the calling code is the present owner."""
        return self.token is not None and self._mine.get() is self.token

    @contextmanager
    def hold(self) -> Iterator[_Token]:
        """Own the model for the body. Raises OwnerError after `patience` seconds."""
        mine = self._mine.get()
        if mine is not None and mine is self.token:  # the owner itself enters again
            # two visitors of one thread have one context: the token alone cannot tell them apart,
            # and the second one would see the first one's edits
            if any(frame.f_back is None for frame in mine.generators):  # it is suspended
                raise OwnerError(
                    "a generator yielded inside `lm.patched` and still holds the model; "
                    "leave `patched` before every yield and enter it again in the next step"
                )
            yield mine
            return
        if not self._lock.acquire(timeout=self.patience):
            raise OwnerError(
                f"the model has been in use by another owner for {self.patience:.0f} s; "
                "most likely a generator yielded inside `lm.patched`, or an edit is still running"
            )
        token = self.token = _Token()
        self._mine.set(token)
        try:
            yield token
        finally:
            self.token = None
            self._mine.set(mine)  # not ContextVar.reset: a step may end in another context
            self._lock.release()


def _generators() -> list[FrameType]:
    """The generators among our callers, without those that a context manager runs."""
    found, frame = [], sys._getframe()
    while frame.f_back is not None:
        managed = frame.f_back.f_globals.get("__name__") == "contextlib"
        if frame.f_code.co_flags & inspect.CO_GENERATOR and not managed:
            found.append(frame)
        frame = frame.f_back
    return found
