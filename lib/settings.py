"""Settings that explain themselves: fields of a dataclass with a sentence and its source.

The page, the command line and a reader of the code see the same sentence, because it stands at the
field. The field also says whether the setting is from the paper or is an option of this project,
and gives the paper's value where the default is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

Source = Literal["paper", "ours"]


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
