"""Memory that is free inside the process, given back to the system.

glibc keeps what a program has freed for its next allocation. After a run of the model that is some
hundred megabytes, in pieces between what is still used, which the next run does not fill.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return free memory to the system where the C library can; elsewhere nothing happens.

    It takes some milliseconds, and as much again where the memory is wanted later.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """The C library's malloc_trim, None where it has none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return None
