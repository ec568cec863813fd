"""Cancellation of long computations: loops ask at every step whether somebody wants to end them.

A forward of the model runs hooks at every block, and a hook can end it. Loops that run no block for
a second (products of keys, decompositions, files) call `raise_if_cancelled` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ASKED: ContextVar[Callable[[], None] | None] = ContextVar("asked", default=None)


def raise_if_cancelled() -> None:
    """Call the function that `cancellable` set, if there is one; it raises to end the loop."""
    ask = _ASKED.get()
    if ask is not None:
        ask()


@contextmanager
def cancellable(ask: Callable[[], None]) -> Iterator[None]:
    """In the body, every `raise_if_cancelled` of this thread calls `ask`, which may raise."""
    token = _ASKED.set(ask)
    try:
        yield
    finally:
        _ASKED.reset(token)
