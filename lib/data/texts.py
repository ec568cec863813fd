"""Paths of the texts and cases that come with the library, and the reader of irrelevant prompts.

The general text and the held-out text are read as one string where they are used. Their sources
are listed in general_text.json, and tests/make_general_text.py made them.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
ABILITIES = _FOLDER / "abilities.json"  # what an edit should not cost; see evaluation/abilities.py
CLASSROOM = _FOLDER / "classroom.json"  # cases that the default model knows, checked by hand
GENERAL = _FOLDER / "general_text.txt"  # gives second moments and mean embeddings
HELD_OUT = _FOLDER / "held_text.txt"  # real text that goes into no statistics
IRRELEVANT = _FOLDER / "irrelevant.txt"  # prompts written by hand, about no fact


def irrelevant() -> list[str]:
    """The prompts of IRRELEVANT, one per line."""
    return IRRELEVANT.read_text(encoding="utf-8").splitlines()
