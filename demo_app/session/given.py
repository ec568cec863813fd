"""Checks single values of a form or of a program's call; whatever is wrong becomes one sentence.

A browser sends what its fields hold. A program may send anything that JSON can say, so every value
is checked for its kind and its size before any work is done with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lib
from lib.data.facts import require_text

from .worker import Trouble

CHARACTERS = 600  # of a prompt
LARGEST = 10**9  # of a whole number, in size


def text(name: str, value: Any, most: int = CHARACTERS) -> str:
    """The text itself, which is not blank. Raises Trouble, which names it."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Trouble(f"The {name} is empty: please write one.")
    if isinstance(value, str) and len(value) > most:
        raise Trouble(f"The {name} has {len(value):,} characters; this page takes up to {most}.")
    try:
        return require_text(value, f"The {name}")
    except lib.errors.FactError as error:
        raise Trouble(f"{str(error).rstrip('.')}.") from None


def lines(name: str, value: Any, most: int) -> list[str]:
    """The lines of a text that are not blank, stripped; nothing for None. Raises Trouble."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    whole = text(name, value, most=most)
    return [line.strip() for line in whole.splitlines() if line.strip()]


def whole(name: str, value: Any) -> int:
    """A whole number, also one that is written as 3.0. Raises Trouble, which names it."""
    if not _number(value) or value != int(value):
        raise Trouble(f"The {name} should be a whole number.")
    return int(value)


def _number(value: Any) -> bool:
    """Whether it is a number of a usual size; infinity and what is not a number are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def flag(name: str, value: Any) -> bool:
    """True or false. Raises Trouble, which names it."""
    if not isinstance(value, bool):
        raise Trouble(f"{name} should be true or false.")
    return value


def names(name: str, value: Any) -> list[str]:
    """A word or a list of words, as a list in which each stands once. Raises Trouble."""
    several = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(several, Sequence) or not all(isinstance(one, str) for one in several):
        raise Trouble(f"The {name} should be a list of names.")
    return list(dict.fromkeys(several))


def short(value: Any, most: int = 40) -> str:
    """What was given, for a sentence that names it: as text, cut, and always to be written."""
    shown = value if isinstance(value, str) else str(value) if _number(value) else "that"
    shown = shown if len(shown) <= most else f"{shown[:most]}…"
    return shown.encode("utf-8", "replace").decode("utf-8")
