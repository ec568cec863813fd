"""Long computations in steps, and their cancellation.

At every step, loops check whether they should end.

A forward pass of the model runs hooks at every block, and a hook can end it. Loops that do not run
a block for a second (products of keys, decompositions, files) instead call `raise_if_cancelled`.
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
from typing import Any, TypeVar

from tqdm.auto import tqdm

from .errors import SlowWarning

T = TypeVar("T")
LOG = logging.getLogger("modeledit")  # one line per stage, shown at level INFO
LOG.addHandler(logging.NullHandler())
LONG = 10.0  # seconds after which a stage without a bar warns about its duration
_ASKED: ContextVar[Callable[..., None] | None] = ContextVar("asked", default=None)
_FROM: ContextVar[float] = ContextVar(
    "from", default=0.0
)  # the clock time after which bars are shown


@contextmanager
def during(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """Set a context variable to another value within the body."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def raise_if_cancelled(*at: Any) -> None:
    """Call the function set by `cancellable`, if there is one; it raises to end the loop."""
    ask = _ASKED.get()
    if ask is not None:
        ask(*at)


def steps(things: Collection[T], doing: str) -> Iterator[T]:
    """Yield the things one by one, reporting progress to a bar, the log and `cancellable`.

    The bar is for a terminal or a notebook, and tqdm's TQDM_DISABLE hides it in both. If nothing
    else shows the progress, a warning estimates the remaining time of a long stage from its first
    thing.
    """
    LOG.info("%s: %d", doing, len(things))
    began, watched = time.monotonic(), sys.stderr.isatty() or "ipykernel" in sys.modules
    shown = watched and not os.environ.get("TQDM_DISABLE")
    delay = max(0.0, (_FROM.get() or began + 1) - began)
    heard = shown or _ASKED.get() is not None or delay == math.inf
    bar = tqdm(desc=doing, total=len(things), disable=not shown, delay=delay, leave=False)
    try:
        for done, one in enumerate(things):
            raise_if_cancelled(doing, done / len(things))
            left = (time.monotonic() - began) * (len(things) - 1)
            if done == 1 and left > LONG and not heard:
                warnings.warn(
                    f"{doing}: this takes at most about {left:.0f} s more", SlowWarning, 2
                )
            yield one
            bar.update()
    finally:
        bar.n = bar.total  # a bar ending early would stay in a notebook, in red
        bar.close()


def progress_after(seconds: float) -> AbstractContextManager[None]:
    """Hide the bars of `steps` within the body until this many seconds have passed (inf: always).

    A longer delay set outside the body takes precedence.
    """
    return during(_FROM, max(_FROM.get(), time.monotonic() + seconds))


def cancellable(ask: Callable[..., None]) -> AbstractContextManager[None]:
    """Make every `raise_if_cancelled` of this thread call `ask` within the body; it may raise."""
    return during(_ASKED, ask)


def finished(steps: Generator[Any, None, T]) -> T:
    """Run a computation in steps to its end and return its result, ignoring yielded values."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
