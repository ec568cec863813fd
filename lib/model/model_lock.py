"""One owner of the model at a time, and the owner is not a thread.

A re-entrant thread lock does not keep visitors apart: a web server runs each step of a generator on
any worker thread, so two visitors can stand inside the same re-entrant lock at once. Here the lock
is a plain one, held on behalf of a token in a context variable: code that finds the lock held by
its own token goes on, any other waits. Nothing may yield while it is held; where that happens the
next generator to come on the same thread is told so at once.
"""

from __future__ import annotations

import inspect
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

from ..errors import OwnerError

# Files of this package, by their last name, that may stand between a user's `with` and the lock.
_BETWEEN = {"model_lock", "patching", "lm", "generation"}


class _Token:
    """Who holds the lock: the frame that took it, and the streams started meanwhile."""

    def __init__(self, frame: FrameType | None) -> None:
        self.frame = frame
        self.running = threading.RLock()  # one forward at a time inside one owner
        self.streams: list[threading.Thread] = []


class Owner:
    """The lock of one model; `with owner.hold():` is re-entrant by token, not by thread."""

    def __init__(self, patience: float = 600.0) -> None:
        self.patience = patience  # seconds to wait for another owner
        self._lock = threading.Lock()
        self._holder: _Token | None = None
        self._mine: ContextVar[_Token | None] = ContextVar("owner", default=None)

    @property
    def token(self) -> _Token | None:
        """The present holder, whoever that is."""
        return self._holder

    @property
    def held(self) -> bool:
        """Whether the code that asks is the present owner."""
        return self._holder is not None and self._mine.get() is self._holder

    @contextmanager
    def hold(self):
        """Own the model for the body. Raises OwnerError after `patience` seconds."""
        mine = self._mine.get()
        if mine is not None and mine is self._holder:
            _refuse_suspended(mine.frame)
            yield mine
            return
        if not self._lock.acquire(timeout=self.patience):
            raise OwnerError(
                f"the model has been in use by another owner for {self.patience:.0f} s; "
                "most likely a generator yielded inside `lm.patched`, or an edit is still running"
            )
        token = _Token(_caller())
        self._holder = token
        self._mine.set(token)
        try:
            yield token
        finally:
            self._holder = None
            self._mine.set(mine)  # not ContextVar.reset: a step may end in another context
            self._lock.release()


def _refuse_suspended(holder: FrameType | None) -> None:
    """Raise where the owner is a suspended generator and the code that asks is another generator.

    Both run in one context on one thread, so the token alone cannot tell them apart: without this
    the second visitor would see the first one's edits.
    """
    frame: FrameType | None = sys._getframe()
    other = False
    while frame is not None:
        if frame is holder:
            return
        other |= _is_generator(frame) and frame.f_globals.get("__name__") != __name__
        frame = frame.f_back
    if holder is not None and _is_generator(holder) and other:
        raise OwnerError(
            "a generator yielded inside `lm.patched` and still holds the model; "
            "leave `patched` before every yield and enter it again in the next step"
        )


def _is_generator(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & inspect.CO_GENERATOR)


def _caller() -> FrameType | None:
    """The frame of the user's `with`, outside the files that bind patches and context managers."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        back = frame.f_back
        managed = _is_generator(frame) and back and back.f_globals.get("__name__") == "contextlib"
        if not _own(frame.f_globals.get("__name__", "")) and not managed:
            return frame
        frame = back
    return None


def _own(module: str) -> bool:
    """Whether a frame of this module stands between a user's `with` and the lock."""
    package, _, name = module.rpartition(".")
    return module == "contextlib" or (package == __package__ and name in _BETWEEN)
