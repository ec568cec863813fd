"""Hooks on modules that are removed at the end of a `with`, and an exception to end a forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Enough(Exception):
    """Raised by a hook to end the forward, when all that was asked for has been seen."""


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any], *, before: bool = False) -> Iterator[None]:
    """In the body, `hook(module, inputs, output)` is called whenever the module has run.

    before=True calls `hook(module, inputs, named_inputs)` whenever it is about to run. A hook that
    returns something replaces the output, or the inputs.
    """
    if before:
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    else:
        handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
