"""Where a long computation asks whether anybody still wants it.

A pass through the model runs hooks at every block, and whoever waits can end it there. Loops that
run no block for a second (products of keys, decompositions, files) call
`raise_if_cancelled` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ASKED: ContextVar[Callable[[], None] | None] = ContextVar("asked", default=None)


def raise_if_cancelled() -> None:
    """Ask whoever waits, if anybody does; he raises to end the computation."""
    ask = _ASKED.get()
    if ask is not None:
        ask()


@contextmanager
def cancellable(ask: Callable[[], None]) -> Iterator[None]:
    """For the body, every `raise_if_cancelled` of this thread calls `ask`."""
    token = _ASKED.set(ask)
    try:
        yield
    finally:
        _ASKED.reset(token)
