"""The events by which an answer counts as given, as predicates on text.

An event is one way to decide whether the model gives an answer: it finds the answer more probable
than another one, predicts its tokens one by one (teacher-forced), or generates it. The ranking of
editors depends on the event, so every metric names its own.

Generated text is judged by `begins`, by the stricter `exact`, and by `contains`. The second implies
the first, and the first implies the last. A verdict says whether it is settled: then no further
text can change it, and the model need not go on (`interview.py` asks the model).
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
_BLANK = _QUOTES + " \t\r\f\v\xa0"  # may stand between an answer and its full stop


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
