"""Settings that explain themselves: fields of a dataclass with a sentence and its source.

The page, the command line and a reader of the code see the same sentence, because it stands at the
field. The field also says whether the setting is from the paper or is an option of this project,
and gives the paper's value where the default is another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Source = Literal["paper", "ours"]
LARGEST = 1 << 63  # larger whole numbers are none that torch could compute with
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    NoneType: "None",
}


@dataclass(frozen=True)
class Setting:
    """The description of one setting.

    name       name of the field
    type       its annotation, as written in the code
    default    its value in the class, before any preset
    published  the paper's value, or for an option of ours the value that leaves the method as
               published
    choices    the words that it may be, empty where it is not a choice among words
    sentence   its meaning
    source     "paper" where the setting, or the choice, is in the paper, "ours" where it is not
    """

    name: str
    type: str
    default: Any
    published: Any
    choices: tuple[Any, ...]
    sentence: str
    source: Source


def setting(
    default: Any,
    sentence: str | None = None,
    *,
    source: Source | None = None,
    published: Any = MISSING,
) -> Any:
    """A dataclass field with its sentence, source and published value.

    A sentence or source that is left out is that of the base class's field of the same name.
    published is the paper's value where it is not the default.
    """
    said = {"sentence": sentence, "source": source}
    found = {name: value for name, value in said.items() if value is not None}
    if published is not MISSING:
        found["published"] = published
    return field(default=default, metadata=found)


def explain(config: type) -> dict[str, Setting]:
    """{name: its description} of all settings of a dataclass, in their order.

    A field that a subclass sets to another default keeps the sentence and the source of its base.
    """
    choices, found = words(config), {}
    for own in fields(config):
        said = _said(config, own.name)
        found[own.name] = Setting(
            own.name,
            str(own.type),
            own.default,
            own.metadata.get("published", own.default),
            choices.get(own.name, ()),
            said.get("sentence", ""),
            said.get("source", "ours"),
        )
    return found


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the annotated type, as the settings of editors have them.

    Types are what JSON can tell apart: True is no number, a whole number is a number too, and a
    number is finite. A list is a tuple. An annotation that is no such type takes everything.
    """
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if kind is Literal:
        return any(type(value) is type(word) and value == word for word in parts)
    if kind is tuple and isinstance(value, tuple):
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(fits, value, parts))
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
    if hint is int:
        return whole
    if hint is float:
        return whole or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, hint) if hint in _KINDS else kind is not tuple


def described(hint: Any) -> str:
    """An annotated type in words; tuple[int, ...] -> "a list (each a whole number)"."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(described, parts))
    if kind is Literal:
        return " or ".join(map(str, parts))
    if kind is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return f"a list (each {described(parts[0])})"
    if kind is tuple:
        return f"a list ({', '.join(map(described, parts))})"
    return _KINDS.get(hint, str(hint))


def shown(value: Any) -> str:
    """A value for an error message: at most about sixty characters, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits; deep lists
        return f"that {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:50]} … {text[-5:]}"


def words(config: type) -> dict[str, tuple[Any, ...]]:
    """{setting: the words that it may be}, from the annotations that contain `Literal`."""
    found = {}
    for name, hint in get_type_hints(config).items():
        parts = (hint, *get_args(hint))  # the hint may be Literal[...] | None
        some = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        if some:
            found[name] = tuple(some)
    return found


def _said(config: type, name: str) -> Mapping[str, Any]:
    """Sentence and source of a field, each from the nearest class that gives one."""
    found: dict[str, Any] = {}
    for base in reversed(config.__mro__):
        own = base.__dict__.get("__dataclass_fields__", {}).get(name)
        if own is not None:
            found |= own.metadata
    return found
