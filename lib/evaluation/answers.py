"""Deciding whether an answer was given, using predicates on text: the events of the metrics.

An event is one way to decide this: the model finds the answer more probable than another one,
predicts its tokens one by one (teacher-forced), or generates it. The ranking of editors depends on
the event, so every metric names its own.

Generated text is judged by `begins`, by the stricter `exact`, and by `contains`. The second implies
the first, and the first implies the last.

When replying to a person, a model writes a sentence repeating the question: "The Eiffel
Tower is located in the city of Paris." So in the chat template the events above say next to
nothing: the unedited default model reaches `begins` on 1 of the classroom's 203 facts. For
replies, `named` is true if the first sentence names the answer, and does not name the rival answer
before it, and the same replies give 118 of 203.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

EVENTS = ("probability", "teacher_forced", "generation")
LIMIT = 32  # tokens of free generation
_QUOTES = "\"'`“”„‟‘’‚‛«»‹›"
_LEAD = re.compile(rf"^[\s{_QUOTES}]+")
_TAIL = re.compile(rf"[\s{_QUOTES}]+$")
# The end of a sentence. A period after a single letter or a title doesn't count: "J.R.R. Tolkien",
# "Mr. Bean".
END = re.compile(
    r"\S(?:[!?](?=\s)|\n|(?<!\b\w)(?<!\bSt|\bMr|\bMs|\bDr|\bJr|\bSr|\bMt|\bFt|\bLt|\bvs)"
    r"(?<!\bMrs|\bGen|\bCol|\bRev|\bGov|\bSen|\bSgt)(?<!\bProf|\bCapt)\.(?=\s))"
)
_BLANK = _QUOTES + " \t\r\f\v\xa0"  # possible characters between an answer and its full stop


class Verdict(NamedTuple):
    """The verdict on a generated text.

    begins   if the text begins with the target, as in `begins`.
    exact    if the text is the target, as in `exact`.
    named    if the first sentence of a reply names the target, as in `named`.
    """

    begins: bool
    exact: bool
    named: bool = False


class Named(NamedTuple):
    """The answers to compare with a reply in conversation.

    right  the answers that count.
    rival  an answer that must not be named before them, None if there is none.
    """

    right: tuple[str, ...]
    rival: str | None = None


def judge(text: str, target: str, cut: bool = False) -> Verdict:
    """Return the verdict on a generated text.

    Case, leading white space, and quotes around text and target are ignored. The answer ends at a
    boundary, which is the end of the text, punctuation, or white space. A letter, digit or
    combining mark right after the target makes it another word. The answer is exact if a period, a
    newline or the end of the text follows.

    cut  if the given target is only the beginning of a longer one, so that no boundary is needed.

    judge(" Rome, Italy", "Rome") -> (True, False)
    """
    given, wanted = _LEAD.sub("", text).casefold(), plain(target)
    if not given.startswith(wanted):
        return Verdict(False, False)
    rest = given[len(wanted) :]
    if cut or not rest:
        return Verdict(True, True)
    if unicodedata.category(rest[0])[0] in "LMN":
        return Verdict(False, False)
    tail = rest.lstrip(_BLANK)
    return Verdict(True, not tail or tail[0] in ".\n")


def judge_any(text: str, targets: Iterable[tuple[str, bool]]) -> Verdict:
    """Return the verdict if any of several targets is right, each given as (target, cut)."""
    verdicts = [judge(text, target, cut) for target, cut in targets]
    return Verdict(
        any(verdict.begins for verdict in verdicts),
        any(verdict.exact for verdict in verdicts),
    )


def begins(text: str, target: str) -> bool:
    """Return whether the text begins with the target, then a boundary: the event `generation`."""
    return judge(text, target).begins


def contains(text: str, target: str) -> bool:
    """Return whether the target occurs anywhere in the text, the most generous judgment."""
    return plain(target) in text.casefold()


def plain(text: str) -> str:
    """Return the form for comparing answers: no case, no white space or quotes around them."""
    return _TAIL.sub("", _LEAD.sub("", text)).casefold() or text.casefold()


def named(text: str, right: Iterable[str], rival: str | None = None) -> bool:
    """Return whether the first sentence names an answer before the rival.

    Answers count as whole words, and case is ignored.
    named("The tower is in Rome. Paris", ["Rome"], "Paris") -> True
    """
    end = END.search(text)
    sentence = text[: end.end()] if end else text
    found = [place for answer in right if (place := _place(sentence, answer)) is not None]
    other = None if rival is None else _place(sentence, rival)
    return bool(found) and (other is None or min(found) <= other)


def _place(sentence: str, answer: str) -> int | None:
    """Return the first place of the answer as whole words, None if there is none."""
    found = re.search(rf"(?<!\w){re.escape(plain(answer))}(?!\w)", sentence.casefold())
    return found.start() if found else None
