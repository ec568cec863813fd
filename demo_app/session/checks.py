"""Validates single values from a form or a program's call, turning each problem into one sentence.

A browser sends the contents of its fields, but a program can send anything that JSON can express.
So we check every value's type and size before using it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lib
from lib.data.facts import require_text

from .worker import Trouble

CHARACTERS = 600  # maximum length of a prompt
LARGEST = 10**9  # largest absolute value of a whole number


def text(name: str, value: Any, most: int = CHARACTERS) -> str:
    """Return the text if it is not blank. Raises Trouble, naming the value."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Trouble(f"The {name} is empty. Please write one.")
    if isinstance(value, str) and len(value) > most:
        raise Trouble(f"The {name} has {len(value):,} characters. The maximum is {most}.")
    try:
        return require_text(value, f"The {name}")
    except lib.errors.FactError as error:
        raise Trouble(f"{str(error).rstrip('.')}.") from None


def lines(name: str, value: Any, most: int) -> list[str]:
    """The text's lines, stripped and without blank lines; [] for None. Raises Trouble."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    whole = text(name, value, most=most)
    return [line.strip() for line in whole.splitlines() if line.strip()]


def whole(name: str, value: Any) -> int:
    """Return a whole number, which may be written as 3.0. Raises Trouble, naming the value."""
    if not _number(value) or value != int(value):
        raise Trouble(f"The {name} should be a whole number.")
    return int(value)


def _number(value: Any) -> bool:
    """Return whether it is a number of ordinary size; this excludes infinity and NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def flag(name: str, value: Any) -> bool:
    """Return true or false. Raises Trouble, naming the value."""
    if not isinstance(value, bool):
        raise Trouble(f"{name} should be true or false.")
    return value


def names(name: str, value: Any) -> list[str]:
    """A word or a list of words, as a list without duplicates. Raises Trouble."""
    several = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(several, Sequence) or not all(isinstance(one, str) for one in several):
        raise Trouble(f"The {name} should be a list of names.")
    return list(dict.fromkeys(several))


def short(value: Any, most: int = 40) -> str:
    """Quote a value in a sentence: as text, shortened, and always encodable."""
    shown = value if isinstance(value, str) else str(value) if _number(value) else "that"
    shown = shown if len(shown) <= most else f"{shown[:most]}…"
    return shown.encode("utf-8", "replace").decode("utf-8")
