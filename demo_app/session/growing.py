"""Answers of several prompts as far as they are written, for whoever watches them grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import lib

from .views import Answer, Ask, Row

EVERY = 0.15  # seconds, at least, between two sights


class Growing:
    """Hears of every token that an answer gets, and passes the texts on every now and then.

    The first prompt is the one that matters most: nothing is passed on before it has a token.
    """

    def __init__(
        self,
        lm: lib.LM,
        asks: Sequence[Ask],
        rows: Sequence[list[int]],
        grown: Callable[[Mapping[Ask, str]], None],
    ) -> None:
        self.lm, self.asks, self.rows, self.grown = lm, asks, rows, grown
        self._ids: list[list[int]] = [[] for _ in rows]
        self._last = 0.0

    def of(self, number: int) -> Callable[[list[int]], bool]:
        """What hears of one answer; it never ends the answer."""

        def heard(ids: list[int]) -> bool:
            self._ids[number] = list(ids)
            if self._ids[0] and time.monotonic() - self._last > EVERY:
                texts = self.lm.texts(self.rows, self._ids)
                self.grown(dict(zip(self.asks, texts, strict=True)))
                self._last = time.monotonic()
            return False

        return heard


def growing(row: Row, text: str) -> Row:
    """A row whose answer under the edit is being written."""
    text = text.rstrip("\ufffd")  # of a character whose last byte is still to come
    return replace(row, after=Answer(text, row.before.next_token), word="is being asked")
