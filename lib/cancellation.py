"""Long computations in steps, and their cancellation.

Loops ask at every step whether somebody wants to end them.

A forward of the model runs hooks at every block, and a hook can end it. Loops that run no block for
a second (products of keys, decompositions, files) call `raise_if_cancelled` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
_ASKED: ContextVar[Callable[..., None] | None] = ContextVar("asked", default=None)


def raise_if_cancelled(*at: Any) -> None:
    """Call the function that `cancellable` set, if there is one; it raises to end the loop."""
    ask = _ASKED.get()
    if ask is not None:
        ask(*at)


def steps(things: Collection[T], doing: str) -> Iterator[T]:
    """The things, one by one; a bar on a terminal and `cancellable` hear what is done of what."""
    for done, one in enumerate(tqdm(things, doing, disable=None, delay=1, leave=False)):
        raise_if_cancelled(doing, done / len(things))
        yield one


@contextmanager
def cancellable(ask: Callable[..., None]) -> Iterator[None]:
    """In the body, every `raise_if_cancelled` of this thread calls `ask`, which may raise."""
    token = _ASKED.set(ask)
    try:
        yield
    finally:
        _ASKED.reset(token)


def finished(steps: Generator[Any, None, T]) -> T:
    """The result of a computation in steps, run to its end; what it yields is passed over."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
