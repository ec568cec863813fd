"""The lock of a model, which has one owner at a time; the owner is a token and not a thread.

A re-entrant thread lock does not keep visitors apart. A web server runs each step of a generator on
any worker thread, so two visitors can stand inside the same re-entrant lock at once. Here the lock
is a plain one, held on behalf of a token in a context variable. Code that finds the lock held by
its own token goes on, and any other code waits. Nothing may yield while it is held. Where that
happens, the next generator that comes on the same thread gets an error at once.
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

# Files of this package, by their last name, that may stand between a user's `with` and the lock.
_BETWEEN = {"model_lock", "apply_patch", "lm", "generation"}


class _Token:
    """The holder of the lock.

    frame    the stack frame that took the lock.
    running  a lock within the owner, for one forward at a time.
    streams  threads that generate text on behalf of the owner.
    """

    def __init__(self, frame: FrameType | None) -> None:
        self.frame = frame
        self.running = threading.RLock()
        self.streams: list[threading.Thread] = []


class Owner:
    """The lock of one model; `with owner.hold():` is re-entrant by token and not by thread.

    patience  seconds to wait for another owner.
    """

    def __init__(self, patience: float = 600.0) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._holder: _Token | None = None
        self._mine: ContextVar[_Token | None] = ContextVar("owner", default=None)

    @property
    def token(self) -> _Token | None:
        """The token of the present owner, None where there is none."""
        return self._holder

    @property
    def held(self) -> bool:
        """Whether the calling code is the present owner."""
        return self._holder is not None and self._mine.get() is self._holder

    @contextmanager
    def hold(self) -> Iterator[_Token]:
        """Own the model for the body. Raises OwnerError after `patience` seconds."""
        mine = self._mine.get()
        if mine is not None and mine is self._holder:  # the owner itself enters again
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
    """Raise where the owner is a suspended generator and the calling code is another generator.

    Both run in one context on one thread, so the token alone cannot tell them apart. Without this
    check the second visitor would see the first one's edits.
    """
    frame: FrameType | None = sys._getframe()
    other = False  # whether a generator other than this file's stands on the stack
    while frame is not None:
        if frame is holder:  # the owner is among our callers, so it is not suspended
            return
        other |= _is_generator(frame) and frame.f_globals.get("__name__") != __name__
        frame = frame.f_back
    if holder is not None and _is_generator(holder) and other:
        raise OwnerError(
            "a generator yielded inside `lm.patched` and still holds the model; "
            "leave `patched` before every yield and enter it again in the next step"
        )


def _is_generator(frame: FrameType) -> bool:
    """Whether a stack frame is that of a generator."""
    return bool(frame.f_code.co_flags & inspect.CO_GENERATOR)


def _caller() -> FrameType | None:
    """The frame of the user's `with`: the first that is neither ours nor a context manager's."""
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
