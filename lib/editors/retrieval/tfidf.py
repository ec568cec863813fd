"""TF-IDF vectors of short texts, used for comparing stored facts and demonstrations."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache

from ...data.texts import GENERAL


def plain(text: str) -> str:
    """Return the text in the form used for comparing names.

    That is NFKC, case folded, replacing punctuation with spaces and never repeating a space.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[^\w\s]", " ", text).split())


def vector(text: str) -> dict[str, float]:
    """Return the unit TF-IDF vector, (1 + log tf)·idf: words 1–2, characters 3–5 inside words."""
    idf, rare = _idf()
    weights = {t: (1 + math.log(n)) * idf.get(t, rare) for t, n in Counter(_grams(text)).items()}
    norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
    return {term: weight / norm for term, weight in weights.items()}


def _grams(text: str) -> Iterator[str]:
    words = text.split()
    yield from words
    yield from (f"{a} {b}" for a, b in zip(words, words[1:], strict=False))
    for word in words:
        edged = f"<{word}>"
        yield from (edged[i : i + n] for n in (3, 4, 5) for i in range(len(edged) - n + 1))


@cache
def _idf() -> tuple[dict[str, float], float]:
    """Return the idf of the shipped general text's terms, by paragraphs, and of an unseen term.

    The stored facts do not count, because adding one would change the scores of the others.
    """
    parts = [
        plain(part) for part in GENERAL.read_text(encoding="utf-8").split("\n") if part.strip()
    ]
    count = Counter(term for part in parts for term in set(_grams(part)))
    total = 1 + len(parts)
    return {t: 1 + math.log(total / (1 + n)) for t, n in count.items()}, 1 + math.log(total)


def cosine(a: dict[str, float], b: dict[str, float]) -> float:
    """Return the cosine of two unit vectors; 1.0 if both texts are empty."""
    if not a and not b:
        return 1.0  # both prompts consist only of the subject
    return sum(weight * b[term] for term, weight in a.items() if term in b)
