"""Cells of tables that hold several texts: a list in brackets, as JSON or as Python prints one.

A separator could as well belong to one text: "In the north; Lake Garda lies in" is one rewording.
So a cell with one is refused unless it is written as a list.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from contextlib import suppress

from ..errors import FactError
from .short_repr import quoted

SEPARATORS = re.compile(r"[\r\n|;]")


def bracketed(text: str) -> list:
    """The list that a text in brackets spells out; any other text, as "[X] lies in", is its item.

    Raises FactError for a text that begins as a list and is none, and for one that may be several.
    bracketed("['A is' 'B is']") -> ["A is", "B is"], as numpy prints it
    """
    if not re.match(r"""\[\s*["'{[]|\[[^]]*\]?$|(?s:\(\s*["'].*\)$)""", text):
        if SEPARATORS.search(text):
            raise FactError(
                f"{quoted(text)} may be one text or several: write it as a JSON list, as in "
                '["A is", "B is"]'
            )
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
