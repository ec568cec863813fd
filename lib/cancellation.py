"""Long computations in steps, and their cancellation.

Loops ask at every step whether somebody wants to end them.

A forward of the model runs hooks at every block, and a hook can end it. Loops that run no block for
a second (products of keys, decompositions, files) call `raise_if_cancelled` instead.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from tqdm import tqdm

from .errors import SlowWarning

T = TypeVar("T")
LOG = logging.getLogger("modeledit")  # one line per stage, shown to whoever asks for INFO
LOG.addHandler(logging.NullHandler())
LONG = 10.0  # seconds of a stage from which on a warning says how long it takes, where no bar does
_ASKED: ContextVar[Callable[..., None] | None] = ContextVar("asked", default=None)
_FROM: ContextVar[float] = ContextVar("from", default=0.0)  # the clock from which bars are shown


@contextmanager
def during(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """In the body, a context variable has another value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def raise_if_cancelled(*at: Any) -> None:
    """Call the function that `cancellable` set, if there is one; it raises to end the loop."""
    ask = _ASKED.get()
    if ask is not None:
        ask(*at)


def bars() -> Callable[..., tqdm]:
    """Make bars for a terminal or a notebook that go when they end; TQDM_DISABLE keeps them away.

    They are lines of text in a notebook, too: a widget would leave "Loading widget…" in a page that
    is saved and opened again. A bar inside another one takes its line, since no cell can move up.
    """
    never = bool(os.environ.get("TQDM_DISABLE"))
    if "ipykernel" in sys.modules and not sys.stderr.isatty():
        return partial(tqdm, disable=never, leave=False, file=sys.stdout, position=0)
    return partial(tqdm, disable=never or None, leave=False)


bar = bars()


def steps(things: Collection[T], doing: str) -> Iterator[T]:
    """The things, one by one; a bar, the log and `cancellable` hear what is done of what.

    Where nobody sees or hears of it, a warning says how much longer a long stage takes, going by
    its first thing.
    """
    LOG.info("%s: %d", doing, len(things))
    began = time.monotonic()
    delay = max(0.0, (_FROM.get() or began + 1) - began)
    drawn = bar(desc=doing, total=len(things), delay=delay)
    heard = not drawn.disable or _ASKED.get() is not None or delay == math.inf
    try:
        for done, one in enumerate(things):
            raise_if_cancelled(doing, done / len(things))
            left = (time.monotonic() - began) * (len(things) - 1)
            if done == 1 and left > LONG and not heard:
                warnings.warn(
                    f"{doing}: this takes at most about {left:.0f} s more", SlowWarning, 2
                )
            yield one
            drawn.update()
    finally:
        drawn.close()


def progress_after(seconds: float) -> AbstractContextManager[None]:
    """In the body, `steps` shows no bar before so many seconds have passed; with infinity, never.

    What stands around the body counts where it waits longer.
    """
    return during(_FROM, max(_FROM.get(), time.monotonic() + seconds))


def cancellable(ask: Callable[..., None]) -> AbstractContextManager[None]:
    """In the body, every `raise_if_cancelled` of this thread calls `ask`, which may raise."""
    return during(_ASKED, ask)


def finished(steps: Generator[Any, None, T]) -> T:
    """The result of a computation in steps, run to its end; what it yields is passed over."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
