"""Table cells containing several texts: lists in brackets, or texts with separators.

A list in brackets is JSON, or in the form printed by Python, pandas or numpy, and is unambiguous. A
separator, however, can also be part of a text: "In the north; Lake Garda lies in" is one rewording.
`separated` therefore checks whether each part can be a text by itself, and reports its decision.
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

# {name: (the separators, similar characters that can be part of a text)}
SEPARATORS = {
    "line breaks": (r"[\r\n]+", r"[\r\n]"),
    "'|'": (r"\|+", r"(?!)"),
    "';'": (r";", r";\s"),
}


def bracketed(text: str) -> list:
    """Return the list written in brackets; any other text, such as "[X] is in", is its only item.

    Raises FactError for a text beginning like a list without being a list.
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
        # the strings one by one: Python joins strings without a comma between them
        read = tokenize.generate_tokens(line)
        return [ast.literal_eval(one.string) for one in read if one.type == tokenize.STRING]
    raise FactError(
        f"{quoted(text)} begins like a list, but cannot be read as a list. Write it as JSON."
    )


def separated(text: str, about: str | None, short: bool) -> tuple[list[str], str]:
    """Return the texts of a cell, and a phrase about them for a warning: empty for a plain text.

    about  the subject, if the texts are about it
    short  whether the texts are names or answers, not prompts

    Line breaks, then `|` (or `||`), then `;` separate texts if this holds for each part: it is
    short; it names the subject or its place; or it has two words, and the separator is `|`, a `;`
    without a following space, or, in texts that are not about the subject, any separator before a
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
    return [text], "one text each, though they contain line breaks, '|' or ';'" if held else ""
