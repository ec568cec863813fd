"""Breaking off work from another thread, and nothing but the work.

Python delivers such an interrupt some time after it is sent, between any two lines. One that comes
a moment late would break off what happens next: of an event half set, whoever waits for it waits
for good. So a late one is waited for here, before anything else happens.

What the work itself was doing stays as it was: a lock of Python's own classes (a Condition, an
Event) that it was just taking may stay taken.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any


class Overdue(Exception):
    """Work was broken off from outside: it used too much, or said nothing for too long."""


class Interruptible:
    """Calls one function at a time that another thread may break off."""

    def __init__(self) -> None:
        self._thread: int | None = None  # in which the call runs that may be broken off
        self._sending = threading.Lock()  # held from the look at `_thread` until it is sent

    def call(self, work: Callable[..., Any], *given: Any) -> Any:
        """What the function returns or raises; Overdue where it was broken off.

        Once this has returned or raised, no interrupt comes any more.
        """
        try:
            self._thread = threading.get_ident()
            return work(*given)
        finally:
            # One assignment: nothing can come between. From here on at most one is under way, and
            # it arrives at the next call of a function, so there is at least one.
            self._thread = None
            try:
                while self._sending.locked():
                    time.sleep(0)
            except Overdue:
                pass

    def interrupt(self) -> None:
        """Raise Overdue in the call that runs, between two of its lines; where none runs, nothing.

        Work that is in one long call of a library is broken off at its end.
        """
        if self._thread is None:  # so that nobody waits for interrupts that need not be sent
            return
        with self._sending:
            thread = self._thread
            if thread is not None:
                raised = ctypes.py_object(Overdue)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
