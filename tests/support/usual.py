"""Which values of a long list the usual suite tries; `-m slow` tries the others.

@pytest.mark.parametrize("family", few(sorted(ARCHS), ("gpt2", "llama")))
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def few(values: Iterable[Any], usual: int | Collection[Any]) -> list[Any]:
    """Parameters: the first `usual` of them, or those that it names, unmarked; the others slow."""
    found = []
    for place, value in enumerate(values):
        named = place < usual if isinstance(usual, int) else value in usual
        found.append(pytest.param(value, marks=() if named else pytest.mark.slow))
    return found
