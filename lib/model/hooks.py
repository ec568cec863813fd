"""Hooks on modules for the length of a `with`, and the way to end a forward from inside one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Enough(Exception):
    """Raised by a hook when all that was asked for has been seen: nothing above needs to run."""


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any], *, before: bool = False) -> Iterator[None]:
    """For the body, `hook(module, inputs, output)` is called whenever the module has run.

    before=True calls `hook(module, inputs, named_inputs)` whenever it is about to run.
    """
    if before:
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    else:
        handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
