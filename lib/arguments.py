"""Arguments of the wrong type are refused in one sentence before any work: `checked`.

The annotations of a function say what it takes; they are read once and held against every call.
"""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin
from typing import get_type_hints as hints_of

from .errors import ArgumentError, ArgumentTypeError
from .setting_fields import described, shown

F = TypeVar("F", bound=Callable[..., Any])  # a function, or a dataclass
_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def checked(function: F) -> F:
    """The function or class, which refuses a value that its annotation does not allow.

    It raises ArgumentTypeError, and ArgumentError for a number outside the bounds of its kind
    (`settings.Size` and others). An argument without an annotation, or with Any, is taken as it is.
    Where an iterable is asked for, the elements of what has a length are looked at too.
    """
    if isinstance(function, type):
        kind: Any = function
        kind.__init__ = checked(kind.__init__)
        return function
    parameters = inspect.signature(function)
    hints: dict[str, Any] = {}

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        if not hints:  # not at the import, where not all names are there
            hints.update(hints_of(function, include_extras=True))
        for name, value in parameters.bind(*args, **named).arguments.items():
            known = name in hints and parameters.parameters[name].kind not in _MANY
            if known and not fits(value, hints[name]):
                bare = hints_of(function)[name]  # the same without bounds
                wrong = ArgumentError if fits(value, bare) else ArgumentTypeError
                said = f"{described(hints[name])}, not {shown(value)}"
                raise wrong(f"the parameter {name} should be {said}")
        return function(*args, **named)

    return cast(F, call)


def check_all(names: dict[str, Any]) -> None:
    """Put the checked function in the place of every function among the names of a package.

    For the functions that a package gives to its users; calls inside the library are not checked.
    """
    for name, one in list(names.items()):
        if inspect.isfunction(one) and not hasattr(one, "__wrapped__"):
            names[name] = checked(one)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; what this function does not know fits."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if kind is Annotated:
        bounds = {name: getattr(parts[1], name) for name in ("ge", "gt", "le", "lt")}
        return fits(value, parts[0]) and all(
            end is None or getattr(operator, name)(value, end) for name, end in bounds.items()
        )
    if kind is Literal:
        return any(type(value) is type(word) and value == word for word in parts)
    if kind is None or kind is Path:
        return value is None if kind is None else isinstance(value, os.PathLike)
    if kind in (int, float):  # those of numpy are numbers too
        number = isinstance(value, Integral if kind is int else Real)
        return number and not isinstance(value, bool)
    if kind is Any or not isinstance(kind, type):
        return True
    if not parts or issubclass(kind, Mapping) or not issubclass(kind, Iterable):
        return isinstance(value, kind)
    # a list where a tuple is annotated, a range, a set and an array are as good
    table = hasattr(value, "to_dict") and fits({}, parts[0])  # of pandas, or a row of one
    value = value.tolist() if hasattr(value, "tolist") and not table else value  # or a number
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    if kind is tuple and parts[-1] is not Ellipsis:
        return (
            isinstance(value, Sized) and len(value) == len(parts) and all(map(fits, value, parts))
        )
    return table or not isinstance(value, Sized) or all(fits(one, parts[0]) for one in value)
