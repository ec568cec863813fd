"""What counts as giving an answer: the events, as predicates on text and as runs of the model.

The event decides the ranking of editors, so every metric names its own. Generation is judged on
text: `begins`, the stricter `exact`, and `contains`; `exact` implies `begins`, that `contains`. A
row is generated only until its verdict is settled: many times faster, and no verdict changes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..data.facts import encode_target
from ..model import generation, scoring
from ..model.lm import LM
from ..model.scoring import TokenScores

EVENTS = ("probability", "teacher_forced", "generation")
LIMIT = 32  # tokens of free generation
READABLE = 4  # tokens within which a settled text may still end its first word
_QUOTES = "\"'`“”„‟‘’‚‛«»‹›"
_LEAD = re.compile(rf"^[\s{_QUOTES}]+")
_TAIL = re.compile(rf"[\s{_QUOTES}]+$")
_BLANK = _QUOTES + " \t\r\f\v\xa0"  # may stand between an answer and its full stop
_WORD = re.compile(r"\w\W")
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?](?=\s|$)|\n)")


class Verdict(NamedTuple):
    """begins and exact for the text so far; settled when no longer text can change them."""

    begins: bool
    exact: bool
    settled: bool


def judge(text: str, target: str, cut: bool = False) -> Verdict:
    """The verdict on a generated text, which may be only its beginning.

    Case, leading white space, and quotes around text and target are ignored. The answer ends at a
    boundary: the end of the text, punctuation, or white space; a letter, digit or combining mark
    right behind it makes it another word. It is exact when a period, newline or the end follows.
    cut says that the target goes on behind what is given of it, so that no boundary is needed.
    judge(" Rome, Italy", "Rome") -> (True, False, True); judge(" Rom", "Rome") is not settled.
    """
    said, wanted = _LEAD.sub("", text).casefold(), plain(target)
    if not said.startswith(wanted):
        return Verdict(False, False, settled=not wanted.startswith(said))
    rest = said[len(wanted) :]
    if cut or not rest:
        return Verdict(True, True, settled=cut)
    if unicodedata.category(rest[0])[0] in "LMN":
        return Verdict(False, False, settled=True)
    tail = rest.lstrip(_BLANK)
    return Verdict(True, not tail or tail[0] in ".\n", settled=bool(tail))


def begins(text: str, target: str) -> bool:
    """Event `generation`: the text begins with the target, then a boundary."""
    return judge(text, target).begins


def exact(text: str, target: str) -> bool:
    """Event `generation_exact`: the text, cut at the first period or newline, is the target.

    A period inside the target does not cut: "Washington, D.C" ends where the target ends.
    """
    return judge(text, target).exact


def contains(text: str, target: str) -> bool:
    """Whether the target occurs anywhere, which says little: the upper end of the bracket."""
    return plain(target) in text.casefold()


def plain(text: str) -> str:
    """An answer as it is compared: without white space and quotes around it, without case."""
    return _TAIL.sub("", _LEAD.sub("", text)).casefold() or text.casefold()


def generated(
    lm: LM, asked: Iterable[tuple[str, str]], *, chat: bool = False
) -> dict[tuple[str, str], tuple[str, Verdict]]:
    """Greedy answers to (prompt, target) pairs: text and verdict of each.

    A text goes as far as its verdict needs (and to the end of its first word), at most 32 tokens.
    Of a longer target the first 32 tokens count.
    """
    pairs = list(dict.fromkeys(asked))
    rows, _ = lm.rows([prompt for prompt, _ in pairs], chat=chat)
    targets = [_within_limit(lm, target) for _, target in pairs]  # (target, cut)

    def settled(i: int, ids: list[int]) -> bool:
        text = lm.texts([rows[i]], [ids])[0]
        if text.endswith("\ufffd") or not judge(text, *targets[i]).settled:
            return False  # "\ufffd": a character of several tokens is not complete yet
        return len(ids) >= READABLE or _WORD.search(text) is not None

    texts = lm.texts(rows, generation.generate(lm, rows, LIMIT, until=settled).ids)
    found = [(text, judge(text, *target)) for text, target in zip(texts, targets, strict=True)]
    return dict(zip(pairs, found, strict=True))


def _within_limit(lm: LM, target: str) -> tuple[str, bool]:
    """The target as far as 32 tokens can say it, and whether that is less than the whole."""
    ids = encode_target(lm.tokenizer, target)
    if len(ids) <= LIMIT:
        return target, False
    text = lm.tokenizer.decode(ids[:LIMIT], clean_up_tokenization_spaces=False)
    return text.rstrip("\ufffd"), True


def scored(
    lm: LM, asked: Iterable[tuple[str, str | tuple[int, ...]]]
) -> dict[tuple[str, Any], TokenScores]:
    """Log-probability and argmax hit of every target token (text or ids), by (prompt, target)."""
    pairs = list(dict.fromkeys(asked))
    rows, _ = lm.rows([prompt for prompt, _ in pairs])
    return dict(zip(pairs, scoring.score(lm, rows, [target for _, target in pairs]), strict=True))


def beginnings(
    lm: LM, prompts: Iterable[str], tokens: int = 8
) -> dict[str, tuple[tuple[int, ...], str]]:
    """{prompt: (ids, text)}: the first greedy tokens, at most 8, cut behind the first sentence."""
    prompts = list(dict.fromkeys(prompts))
    rows, _ = lm.rows(prompts)
    found = {}
    for prompt, row, ids in zip(
        prompts, rows, generation.generate(lm, rows, tokens).ids, strict=True
    ):
        sentence = _SENTENCE.search(lm.texts([row], [ids])[0])
        pieces = lm.texts([row] * len(ids), [ids[: n + 1] for n in range(len(ids))])
        end = next(
            (n for n, p in enumerate(pieces, 1) if sentence and len(p) >= sentence.end()), len(ids)
        )
        found[prompt] = tuple(ids[:end]), pieces[end - 1] if ids else ""
    return found
