"""Self-describing settings: fields of a dataclass with a description and a source.

The page, the command line and readers of the code see the same description, because it is part of
the field. The field also shows whether the setting comes from the paper or is our own option, and
gives the paper's value if the default is different.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from .errors import ArgumentError

Source = Literal["paper", "ours"]
_KINDS = {bool: "true or false", str: "a text", NoneType: "None"}
LARGEST = (
    1 << 63
)  # torch cannot compute with such a whole number, and a float here has no reason to

# Kinds of settings; error messages use the description for invalid values.
Whole = Annotated[int, Meta(gt=-LARGEST, le=LARGEST - 1, description="a whole number")]
Count = Annotated[int, Meta(ge=0, le=LARGEST - 1, description="a whole number of at least 0")]
Size = Annotated[int, Meta(ge=1, le=LARGEST - 1, description="a whole number of at least 1")]
Real = Annotated[float, Meta(gt=-LARGEST, lt=LARGEST, description="a finite number")]
Amount = Annotated[float, Meta(ge=0, lt=LARGEST, description="a finite number of at least 0")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Layers = Annotated[tuple[Count, ...], Meta(min_length=1, description="a list of one layer or more")]
Text = Annotated[str, Meta(min_length=1)]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1, description="a list of non-empty texts")]


@dataclass(frozen=True)
class Setting:
    """The description of one setting.

    name       name of the field
    default    its value in the class, before any preset
    published  the paper's value, or for our own option the value leaving the method as
               published
    choices    the allowed words, empty if it is not a choice among words
    sentence   its meaning
    source     "paper" if the setting, or the choice, is in the paper, otherwise "ours"
    """

    name: str
    default: Any
    published: Any
    choices: tuple[Any, ...]
    sentence: str
    source: Source


def setting(
    default: Any,
    sentence: str | None = None,
    *,
    published: Any = MISSING,
    source: Source | None = None,
) -> Any:
    """Return a dataclass field with its description, source and published value.

    A missing description or source comes from the base class's field of the same name, so
    `from_paper` and `ours` below mark the first declaration of a setting. published is the paper's
    value if it is not the default.
    """
    given = {"sentence": sentence, "source": source}
    said = {name: value for name, value in given.items() if value is not None}
    paper = {} if published is MISSING else {"published": published}
    return field(default=default, metadata=said | paper)


from_paper = partial(setting, source="paper")
ours = partial(setting, source="ours")


def explain(config: type) -> dict[str, Setting]:
    """Return {name: its description} for all settings of a dataclass, in their order.

    If a subclass gives a field another default, the field keeps its base's description and source.
    """
    choices = words(config)
    return {
        own.name: Setting(
            own.name,
            own.default,
            own.metadata.get("published", own.default),
            choices.get(own.name, ()),
            said.get("sentence", ""),
            said.get("source", "ours"),
        )
        for own in fields(config)
        for said in [_said(config, own.name)]
    }


def described(hint: Any) -> str:
    """Return an annotated type in words; tuple[Whole, ...] -> "a list (each a whole number)"."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return str(parts[1].description)
    if kind in (Union, UnionType):
        return " or ".join(map(described, parts))
    if kind is Literal:
        return " or ".join(map(str, parts))
    if kind is tuple:
        each = f"each {described(parts[0])}"
        return f"a list ({each if parts[-1] is ... else ', '.join(map(described, parts))})"
    return _KINDS.get(hint, str(hint).replace("collections.abc.", ""))


def at_least(least: int, **numbers: float | None) -> None:
    """Reject a number below the minimum, NaN and infinity, with an ArgumentError naming it."""
    for name, number in numbers.items():
        if number is not None and not least <= number < math.inf:
            raise ArgumentError(
                f"The parameter {name} should be a number of at least {least}, not {shown(number)}."
            )


def shown(value: Any) -> str:
    """Return any value for an error message, using at most about 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits; deep lists
        return f"that {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:50]} … {text[-5:]}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word, suggesting a similar word if any."""
    found = get_close_matches(word.lower(), known, 1)
    return f". Did you mean '{found[0]}'?" if found else ""


def words(config: type) -> dict[str, tuple[Any, ...]]:
    """Return {setting: its allowed words}, from the annotations containing `Literal`."""
    parts = {  # the hint may be Literal[...] | None
        name: [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
        for name, hint in get_type_hints(config).items()
    }
    return {name: sum(map(get_args, some), ()) for name, some in parts.items() if some}


def _said(config: type, name: str) -> Mapping[str, Any]:
    """Return a field's description and source, each from the nearest class giving one."""
    known = [vars(base).get("__dataclass_fields__", {}) for base in reversed(config.__mro__)]
    return {k: v for own in known if name in own for k, v in own[name].metadata.items()}
