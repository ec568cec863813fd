"""The data files that come with the library: where they lie, and the one reader that many share.

The general text and the held-out text are read as one string where they are used. What they were
made from, and how, is in general_text.json and tests/make_general_text.py.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
CLASSROOM = _FOLDER / "classroom.json"  # cases that the default model knows, checked by hand
GENERAL = _FOLDER / "general_text.txt"  # of which second moments and mean embeddings are made
HELD_OUT = _FOLDER / "held_text.txt"  # real text that no statistics are made of
IRRELEVANT = _FOLDER / "irrelevant.txt"  # prompts written by hand, about no fact


def irrelevant() -> list[str]:
    """The prompts of IRRELEVANT, one per line."""
    return IRRELEVANT.read_text(encoding="utf-8").splitlines()
