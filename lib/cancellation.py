"""Long computations in steps, and their cancellation.

At every step, loops check whether they should stop running.

While running a forward pass, the model calls hooks at every block, and a hook can end it. Loops not
running a block for a second (products of keys, decompositions, files) instead call
`raise_if_cancelled`.
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


def bars() -> Callable[..., tqdm]:
    """Return a maker of progress bars, which disappear after finishing; TQDM_DISABLE hides them.

    In a notebook, bars are lines of text: a widget would leave "Loading widget…" in a page that
    is saved and reopened. A nested bar reuses the line, since a cell can't move up.
    """
    never = bool(os.environ.get("TQDM_DISABLE"))
    if "ipykernel" in sys.modules and not sys.stderr.isatty():
        return partial(tqdm, disable=never, leave=False, file=sys.stdout, position=0)
    return partial(tqdm, disable=never or None, leave=False)


bar = bars()


def steps(things: Collection[T], doing: str) -> Iterator[T]:
    """Yield the things one by one, reporting progress to a bar, the log and `cancellable`.

    If nothing else shows the progress, a warning estimates the remaining time of a long stage from
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
