"""Facts and cases as function arguments: a single one, or several in any ordered container.

A fact is a case without tests, and a case contains its fact, so each can be used instead of the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ..errors import ArgumentError
from .facts import Case, Fact

Given: TypeAlias = Fact | Case | Iterable[Fact | Case]  # accepted for `facts` and `cases`


def cases(given: Given) -> Sequence[Case]:
    """Return the given cases; a fact becomes a case without tests, using its place as the id."""
    return [
        one if isinstance(one, Case) else Case(one, id=i) for i, one in enumerate(_listed(given))
    ]


def facts(
    given: Given | Iterable[str | Fact | Case], named: Callable[[str], Fact] | None = None
) -> list[Fact]:
    """Return the given facts, extracting the facts of cases.

    named  a function making a fact from a text, if texts are also accepted
    """
    found = [named(one) if named and isinstance(one, str) else one for one in _listed(given)]
    return [one.fact if isinstance(one, Case) else one for one in found]


def fact(given: Given) -> Fact:
    """Return the given fact, raising ArgumentError if there are several or none."""
    found = facts(given)
    if len(found) != 1:
        raise ArgumentError(f"Expected one fact, but got {len(found)}. Pass exactly one.")
    return found[0]


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, Fact | Case) else list(given)
