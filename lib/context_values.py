"""Context variables for the body of a `with`: seen by what runs in it, and by no other thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


@contextmanager
def during(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """In the body, a context variable has another value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
