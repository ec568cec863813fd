"""Paths of the texts and cases shipped with the library, and the reader of irrelevant prompts.

The general text and the held-out text are read as one string when they are used. For their sources,
see general_text.json; they were created using tests/make_general_text.py.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
CLASSROOM = _FOLDER / "classroom.json"  # cases that the default model knows, checked by hand
GENERAL = _FOLDER / "general_text.txt"  # for second moments and mean embeddings
HELD_OUT = _FOLDER / "held_text.txt"  # real text that is not part of any statistics
KNOWN = _FOLDER / "known.json"  # the facts of CLASSROOM that other models know
IRRELEVANT = _FOLDER / "irrelevant.txt"  # prompts written by hand that are not about any fact


def irrelevant() -> list[str]:
    """Return the prompts of IRRELEVANT, one per line."""
    return IRRELEVANT.read_text(encoding="utf-8").splitlines()


def known_by(model: str | None) -> dict[str, Any] | None:
    """Return the entry of KNOWN for a model name, which may be a path or a hub id.

    Only the last part of the name counts, ignoring case. Returns None for an unlisted model, such
    as the default model, which knows all of them. Under "classroom" it has "known": {id
    of a case: places of the known neighbors}.
    """
    return None if model is None else _known().get(model.rstrip("/").split("/")[-1].lower())


@cache
def _known() -> dict[str, Any]:
    return {name.lower(): found for name, found in json.loads(KNOWN.read_bytes()).items()}
