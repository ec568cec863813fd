"""Facts and cases as they come: one or several, in whatever holds them in an order.

A fact is a case without tests, and a case has its fact, so each is taken where the other is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as Unordered
from typing import Annotated, Any, TypeAlias

import pandas as pd
from msgspec import Meta

from ..errors import ArgumentError, ArgumentTypeError
from ..setting_fields import shown
from .facts import Case, Fact
from .readers import read_cases

# What `facts` and `cases` take. Rows are dictionaries or a table with the keys of a data format.
Given: TypeAlias = Annotated[
    Fact | Case | Mapping | Iterable[Fact | Case | Mapping],
    Meta(description="a fact or a case, or a list of them"),
]


def cases(given: Given) -> Sequence[Case]:
    """The cases that were given; a fact is a case without tests, whose id is its place.

    Raises ArgumentTypeError for what holds no facts or cases in an order, and FactError for rows
    that no format has.
    """
    return [
        one if isinstance(one, Case) else Case(one, id=i) for i, one in enumerate(_items(given))
    ]


def facts(
    given: Given | Iterable[str | Fact | Case], named: Callable[[str], Fact] | None = None
) -> list[Fact]:
    """The facts that were given, those of cases among them; it raises what `cases` raises.

    named  makes the fact of a text, where texts are taken as well
    """
    return [one.fact if isinstance(one, Case) else one for one in _items(given, named)]


def fact(given: Given) -> Fact:
    """The one fact that was given; ArgumentError where there are more or none."""
    found = facts(given)
    if len(found) != 1:
        raise ArgumentError(f"one fact is taken here, not {len(found)}")
    return found[0]


def _items(given: Any, named: Callable[[str], Fact] | None = None) -> list[Fact | Case]:
    """The facts and cases that were given, in their order."""
    if isinstance(given, Fact | Case):
        return [given]
    if isinstance(given, list) and all(isinstance(one, Fact | Case) for one in given):
        return list(given)
    return _converted(given, named)


def _converted(given: Any, named: Callable[[str], Fact] | None) -> list[Fact | Case]:
    """The same of tables, rows, texts and other iterables."""
    if isinstance(given, pd.DataFrame):
        given = given.to_dict("records")
    elif isinstance(given, pd.Series) and "prompt" in given.index:  # a row of a table
        given = given.to_dict()
    elif hasattr(given, "tolist"):  # arrays and columns; an array of no dimension gives its object
        given = given.tolist()
    if isinstance(given, Mapping):
        given = [given]
    if isinstance(given, str | bytes | Unordered) or not isinstance(given, Iterable):
        why = ", which has no order" if isinstance(given, Unordered) else ""
        raise ArgumentTypeError(
            f"facts or cases are taken here, one or a list of them, not {shown(given)}{why}"
        )
    found: list[Any] = [named(one) if named and isinstance(one, str) else one for one in given]
    if found and all(isinstance(one, Mapping) for one in found):
        return list(read_cases(found))
    for number, one in enumerate(found):
        if not isinstance(one, Fact | Case):
            raise ArgumentTypeError(f"row {number} is {shown(one)}, not a lib.Fact or a lib.Case")
    return found
