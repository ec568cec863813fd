"""Cells of tables that hold several texts: lists in brackets, or texts with a separator between.

A list in brackets is JSON, or as Python, pandas or numpy print one, and there is no doubt about it.
A separator may as well belong to one text: "In the north; Lake Garda lies in" is one rewording. So
`separated` asks whether each part can stand alone, and says what it did.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from contextlib import suppress

from ..errors import FactError
from .normalized_text import around
from .placeholders import MARKS
from .short_repr import quoted

# {name: (what separates, what may as well stand in one text)}
SEPARATORS = {
    "line breaks": (r"[\r\n]+", r"[\r\n]"),
    "'|'": (r"\|+", r"(?!)"),
    "';'": (r";", r";\s"),
}


def bracketed(text: str) -> list:
    """The list that a text in brackets spells out; any other text, as "[X] lies in", is its item.

    Raises FactError for a text that begins as a list and is none.
    bracketed("['A is' 'B is']") -> ["A is", "B is"], as numpy prints it
    """
    if not re.match(r"""\[\s*["'{[]|\[[^]]*\]?$|(?s:\(\s*["'].*\)$)""", text):
        return [text]
    with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        with suppress(ValueError):
            return json.loads(text)
        found, line = list(ast.literal_eval(text)), io.StringIO(text).readline
        if not all(isinstance(one, str) for one in found):
            return found
        # the strings one by one: Python joins those that have no comma between
        read = tokenize.generate_tokens(line)
        return [ast.literal_eval(one.string) for one in read if one.type == tokenize.STRING]
    raise FactError(f"{quoted(text)} begins as a list and cannot be read as one: write it as JSON")


def separated(text: str, about: str | None, short: bool) -> tuple[list[str], str]:
    """The texts of a cell, and what a warning says about them: nothing for a plain text.

    about  the subject, where the texts are about it
    short  whether the texts are names or answers and not prompts

    Line breaks, then `|` (or `||`), then `;` separate texts if this holds for each part: it is
    short; it names the subject or its place; or it has two words, and the separator is `|`, a `;`
    without a blank behind it, or, in texts that are not about the subject, any in front of a
    capital. Empty parts are left out.
    separated("Rome is in;Rome lies in", "Rome", False)[0] -> ["Rome is in", "Rome lies in"]
    """
    for name, (pattern, loose) in SEPARATORS.items():
        parts = [part.strip() for part in re.split(pattern, text) if part.strip()]
        tight = not re.search(loose, text)
        if (
            re.search(pattern, text)
            and parts
            and (
                short
                or all(
                    (about and (MARKS.search(part) or around(about, part)))
                    or (
                        len(part.split()) > 1
                        and (tight or not (about or part[0].islower() or part.endswith(":")))
                    )
                    for part in parts
                )
            )
        ):
            return parts, f"lists separated by {name}"
    held = re.search(r"[\r\n|;]", text)
    return [text], "one text each, though they hold line breaks, '|' or ';'" if held else ""
