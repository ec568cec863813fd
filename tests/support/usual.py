"""Which values of a long list the tests try: a few usually, some more with `-m slow`, or all.

@pytest.mark.parametrize("family", few(sorted(ARCHS), ("gpt2", "llama"), drawn=4))

With EVERY_CASE=1 in the environment no value is left out.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from random import Random
from typing import Any

import pytest

EVERY = bool(os.environ.get("EVERY_CASE"))


def sample(values: Iterable[Any], drawn: int) -> list[Any]:
    """So many of the values, the same ones in every run; all of them with EVERY_CASE."""
    every = [*values]
    if EVERY or drawn >= len(every):
        return every
    return [every[place] for place in sorted(Random(0).sample(range(len(every)), drawn))]


def few(values: Iterable[Any], usual: int | Collection[Any], drawn: int | None = None) -> list[Any]:
    """Parameters: the first `usual` of them, or those that it names, unmarked; the others slow.

    drawn  how many of the others are tried at all; None for all of them
    """
    every = [*values]
    if isinstance(usual, int):
        quick = [*range(min(usual, len(every)))]
    else:
        quick = [place for place, value in enumerate(every) if value in usual]
    others = [place for place in range(len(every)) if place not in quick]
    slow = others if drawn is None else sample(others, drawn)
    return [
        pytest.param(every[place], marks=() if place in quick else pytest.mark.slow)
        for place in sorted([*quick, *slow])
    ]
