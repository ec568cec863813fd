"""The events by which an answer counts as given, as predicates on text and as runs of the model.

An event is one way to decide whether the model gives an answer: it finds the answer more probable
than another one, predicts its tokens one by one (teacher-forced), or generates it. The ranking of
editors depends on the event, so every metric names its own.

Generated text is judged by `begins`, by the stricter `exact`, and by `contains`. The second implies
the first, and the first implies the last. A row is generated only until its verdict is settled,
which is many times faster and changes no verdict.
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
READABLE = 4  # a settled text goes on for at most so many tokens to end its first word
_QUOTES = "\"'`“”„‟‘’‚‛«»‹›"
_LEAD = re.compile(rf"^[\s{_QUOTES}]+")
_TAIL = re.compile(rf"[\s{_QUOTES}]+$")
_BLANK = _QUOTES + " \t\r\f\v\xa0"  # may stand between an answer and its full stop
_WORD = re.compile(r"\w\W")
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?](?=\s|$)|\n)")


class Verdict(NamedTuple):
    """The verdict on the text generated so far.

    begins   The text begins with the target, as `begins` says.
    exact    The text is the target, as `exact` says.
    settled  No further token can change the two.
    """

    begins: bool
    exact: bool
    settled: bool


def judge(text: str, target: str, cut: bool = False) -> Verdict:
    """The verdict on a generated text, which may be only the beginning of an answer.

    Case, leading white space, and quotes around text and target are ignored. The answer ends at a
    boundary, which is the end of the text, punctuation, or white space. A letter, digit or
    combining mark right after the target makes it another word. The answer is exact when a period,
    a newline or the end of the text follows.

    cut  The target given here is only the beginning of a longer one, so no boundary is needed.

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


def judge_any(text: str, targets: Iterable[tuple[str, bool]]) -> Verdict:
    """The verdict where any of several targets is right; each comes as (target, cut)."""
    verdicts = [judge(text, target, cut) for target, cut in targets]
    return Verdict(
        any(verdict.begins for verdict in verdicts),
        any(verdict.exact for verdict in verdicts),
        all(verdict.settled for verdict in verdicts),
    )


def begins(text: str, target: str) -> bool:
    """Event `generation`: the text begins with the target, then a boundary."""
    return judge(text, target).begins


def exact(text: str, target: str) -> bool:
    """Event `generation_exact`: the text, cut at the first period or newline, is the target.

    A period inside the target does not cut: "Washington, D.C" ends where the target ends.
    """
    return judge(text, target).exact


def contains(text: str, target: str) -> bool:
    """Whether the target occurs anywhere in the text: the most generous way to judge it."""
    return plain(target) in text.casefold()


def plain(text: str) -> str:
    """The form in which answers are compared: no case, no white space or quotes around them."""
    return _TAIL.sub("", _LEAD.sub("", text)).casefold() or text.casefold()


def generated(
    lm: LM, asked: Iterable[tuple[str, Any]], *, chat: bool = False
) -> dict[tuple[str, Any], tuple[str, Verdict]]:
    """Greedy answers to (prompt, target) pairs, as {(prompt, target): (text, verdict)}.

    A target is a text, or a tuple of texts of which any is right. A text is generated until its
    verdict is settled and its first word ends, and for at most 32 tokens. Only the first 32 tokens
    of a longer target count.

    chat  The prompts are asked in the tokenizer's chat template.
    """
    pairs = list(dict.fromkeys(asked))
    rows, _ = lm.rows([prompt for prompt, _ in pairs], chat=chat)
    # lists of (target, cut)
    targets = [
        [within_limit(lm, text) for text in ((target,) if isinstance(target, str) else target)]
        for _, target in pairs
    ]

    def settled(i: int, ids: list[int]) -> bool:
        text = lm.texts([rows[i]], [ids])[0]
        if text.endswith("\ufffd") or not judge_any(text, targets[i]).settled:
            return False  # "\ufffd": a character of several tokens is not complete yet
        return len(ids) >= READABLE or _WORD.search(text) is not None

    texts = lm.texts(rows, generation.generate(lm, rows, LIMIT, until=settled).ids)
    found = [(text, judge_any(text, some)) for text, some in zip(texts, targets, strict=True)]
    return dict(zip(pairs, found, strict=True))


def within_limit(lm: LM, target: str) -> tuple[str, bool]:
    """The first 32 tokens of the target as text, and whether that is less than the whole."""
    ids = encode_target(lm.tokenizer, target)
    if len(ids) <= LIMIT:
        return target, False
    text = lm.tokenizer.decode(ids[:LIMIT], clean_up_tokenization_spaces=False)
    return text.rstrip("\ufffd"), True


def scored(
    lm: LM, asked: Iterable[tuple[str, str | tuple[int, ...]]]
) -> dict[tuple[str, Any], TokenScores]:
    """Log-probability and argmax hit of every target token, by (prompt, target).

    A target is text or a tuple of token ids.
    """
    pairs = list(dict.fromkeys(asked))
    rows, _ = lm.rows([prompt for prompt, _ in pairs])
    return dict(zip(pairs, scoring.score(lm, rows, [target for _, target in pairs]), strict=True))


def beginnings(
    lm: LM, prompts: Iterable[str], tokens: int = 8
) -> dict[str, tuple[tuple[int, ...], str]]:
    """The first greedy tokens of each answer, cut after its first sentence: {prompt: (ids, text)}.

    tokens  The most tokens that are generated.
    """
    prompts = list(dict.fromkeys(prompts))
    rows, _ = lm.rows(prompts)
    answers = generation.generate(lm, rows, tokens).ids
    found = {}
    for prompt, row, ids in zip(prompts, rows, answers, strict=True):
        sentence = _SENTENCE.search(lm.texts([row], [ids])[0])
        # the text after each token: a character may need several tokens, so decode every beginning
        texts = lm.texts([row] * len(ids), [ids[: n + 1] for n in range(len(ids))])
        # keep the fewest tokens that hold the whole first sentence, or all where none ends
        end = len(ids)
        if sentence:
            end = next((n for n, t in enumerate(texts, 1) if len(t) >= sentence.end()), end)
        found[prompt] = tuple(ids[:end]), texts[end - 1] if ids else ""
    return found
