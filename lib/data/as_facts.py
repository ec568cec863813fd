"""Facts and cases as they come: one, or several in whatever holds them in an order.

A fact is a case without tests, and a case has its fact, so each is taken where the other is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ..errors import ArgumentError
from .facts import Case, Fact

Given: TypeAlias = Fact | Case | Iterable[Fact | Case]  # what `facts` and `cases` take


def cases(given: Given) -> Sequence[Case]:
    """The cases that were given; a fact is a case without tests, whose id is its place."""
    return [
        one if isinstance(one, Case) else Case(one, id=i) for i, one in enumerate(_listed(given))
    ]


def facts(
    given: Given | Iterable[str | Fact | Case], named: Callable[[str], Fact] | None = None
) -> list[Fact]:
    """The facts that were given, those of cases among them.

    named  makes the fact of a text, where texts are taken as well
    """
    found = [named(one) if named and isinstance(one, str) else one for one in _listed(given)]
    return [one.fact if isinstance(one, Case) else one for one in found]


def fact(given: Given) -> Fact:
    """The one fact that was given; ArgumentError where there are more or none."""
    found = facts(given)
    if len(found) != 1:
        raise ArgumentError(f"one fact is taken here, not {len(found)}")
    return found[0]


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, Fact | Case) else list(given)
