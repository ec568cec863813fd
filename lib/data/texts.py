"""Paths of the texts and cases that come with the library, and the reader of irrelevant prompts.

The general text and the held-out text are read as one string where they are used. Their sources
are listed in general_text.json, and tests/make_general_text.py made them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
CLASSROOM = _FOLDER / "classroom.json"  # cases that the default model knows, checked by hand
GENERAL = _FOLDER / "general_text.txt"  # gives second moments and mean embeddings
HELD_OUT = _FOLDER / "held_text.txt"  # real text that goes into no statistics
KNOWN = _FOLDER / "known.json"  # what further models know of CLASSROOM
IRRELEVANT = _FOLDER / "irrelevant.txt"  # prompts written by hand, about no fact


def irrelevant() -> list[str]:
    """The prompts of IRRELEVANT, one per line."""
    return IRRELEVANT.read_text(encoding="utf-8").splitlines()


def known_by(model: str | None) -> dict[str, Any] | None:
    """What KNOWN says about the model of this name, which may be a path or an id of a hub.

    Only the last part of the name counts, whatever the case of its letters. None for a model that
    it does not name, as for the default model, which knows everything. Under "classroom" it has
    "known": {id of a case: places of the known neighbors}.
    """
    return None if model is None else _known().get(model.rstrip("/").split("/")[-1].lower())


@cache
def _known() -> dict[str, Any]:
    return {name.lower(): found for name, found in json.loads(KNOWN.read_bytes()).items()}
