"""The checks of notebook 15's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import lib
from lib.evaluation import answers
from lib.evaluation.intervals import Z

TOKENS = 12


def cases_needed(function: Callable[[float, float], int | str | None]) -> str:
    """Notebook 15: the smallest n for which Wilson's interval at a share p is ± h at most."""
    for p, h in ((0.5, 0.03), (0.95, 0.03), (0.8, 0.1), (0.02, 0.01), (0.5, 0.2), (0.99, 0.05)):
        found = function(p, h)
        if found is None or isinstance(found, str):
            return "not attempted."
        wanted, simple = _least(p, h), p * (1 - p) * (Z / h) ** 2
        if found == wanted:
            continue
        where = f"p = {p}, h = {h}: {wanted}, not {found}"
        if found != int(found):
            return f"{where}: cases are whole numbers, round up."
        if abs(found - simple) <= 1:
            return f"{where}: that is without Wilson's terms in z²/n, which count for few cases."
        if abs(found - p * (1 - p) * (2 * Z / h) ** 2) <= 1 or found in (_least(p, h / 2),):
            return f"{where}: h is half of the width, not all of it."
        if found == wanted - 1:
            return f"{where}: with {found} it is just too wide; round up."
        return f"{where}: with {int(found)} cases it is ± {_half(p, max(found, 1)):.4f}."
    return "solved: four times the cases for half the width, but for very few."


def own_test(editor: lib.Editor, fact: lib.Fact, test: tuple[str, str, str] | None) -> str:
    """Notebook 15: a fair test (prompt, wanted answer, "follow" or "stay") that the editor fails."""
    if test is None or isinstance(test, str):
        return "not attempted."
    if len(test) != 3 or test[2] not in ("follow", "stay"):
        return 'a test is (prompt, wanted answer, "follow" or "stay").'
    prompt, wanted, kind = test
    if " ".join(prompt.split()).casefold() == " ".join(fact.text.split()).casefold():
        return "that is the edit's own prompt: no test of anything else."
    lm, new = editor.lm, fact.target_new
    if kind == "stay" and answers.begins(wanted, new):
        return f"{new} is the new answer: it cannot be what stays."
    with lm.patched(lib.EMPTY, only=True):
        before = lm.answer(prompt, TOKENS)
    if kind == "stay" and not answers.begins(before, wanted):
        return f"not fair: the base model says {_short(before)}, so there is nothing to keep."
    if kind == "follow" and answers.begins(before, wanted):
        return f"not fair: the base model says {_short(before)} without any edit."
    patch = editor.edit([fact])
    with lm.patched(patch, only=True):
        own, after = lm.answer([fact.text, prompt], TOKENS)
    if not answers.begins(own, new):
        return f"the editor has not written the fact (it says {_short(own)}): every test fails."
    if answers.begins(after, wanted):
        return f"it passes: it says {_short(after)}. Go further from its words, or nearer."
    return f"solved: wanted {wanted!r}, and it says {_short(after)}."


def _half(p: float, n: float) -> float:
    return Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)


def _least(p: float, h: float) -> int:
    n = 1
    while _half(p, n) > h:
        n += 1
    return n


def _short(text: str) -> str:
    return repr(" ".join(text.split())[:40])
