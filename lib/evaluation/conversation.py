"""A fact in conversation: the forms in which it is asked, and when a reply gives the answer.

A model that replies to a person writes a sentence, and repeats the question in it: "The Eiffel
Tower is located in the city of Paris." So the event by which answers of plain prompts are judged,
that the text begins with the answer, says next to nothing here. The unedited embedded model reaches
it on 1 of the classroom's 203 facts in the chat template. The event `generation_named` asks whether
the reply's first sentence names the answer, and does not name the rival answer before it. There
the same replies give 118 of 203.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..data.conversation import TWO_TURNS
from ..model import generation
from ..model.lm import LM, Chat
from .answers import LIMIT, judge_any, plain
from .interview import READABLE, within_limit

# metric -> how its prompt is asked: in the chat template, or in it after these turns
CONVERSATION: dict[str, Chat] = {
    "chat": True,
    "question": True,
    "after_two_turns": TWO_TURNS,
    "other_language": True,
    "chat_neighbors": True,
}
NAMED = "generation_named"
# A period after a single letter ends no sentence: "J.R.R. Tolkien".
_END = re.compile(r"\S(?:[!?](?=\s)|(?<!\b\w)\.(?=\s)|\n)")
_WORD = re.compile(r"\w\W")


class Ask(NamedTuple):
    """One question to the model and what its reply is compared with.

    metric  a metric of CONVERSATION, which says how the prompt is asked.
    prompt  the person's message.
    right   the answers that count.
    rival   an answer that must not be named before them, None where there is none.
    """

    metric: str
    prompt: str
    right: tuple[str, ...]
    rival: str | None = None


class Reply(NamedTuple):
    """A reply, as far as it had to be written, and the three events on it.

    text    the generated text.
    begins  it begins with an answer (event `generation`).
    exact   it is the answer (event `generation_exact`).
    named   its first sentence names an answer, and not the rival first (event `generation_named`).
    """

    text: str
    begins: bool
    exact: bool
    named: bool


def named(text: str, right: Iterable[str], rival: str | None = None) -> tuple[bool, bool]:
    """Whether the first sentence names an answer before the rival, and whether that is settled.

    Answers count as whole words, and case is ignored. What is settled no further token can change.
    named("The tower is in Rome. Paris", ["Rome"], "Paris") -> (True, True)
    """
    end = _END.search(text)
    sentence = text[: end.end()] if end else text
    found = [place for answer in right if (place := _place(sentence, answer)) is not None]
    other = None if rival is None else _place(sentence, rival)
    good = bool(found) and (other is None or min(found)[0] <= other[0])
    # the first name settles it, once a further character has shown where the word ends
    first = min([*found, *([other] if other else [])], default=None)
    closed = first is not None and first[1] < len(sentence)
    return good, closed or end is not None


def _place(sentence: str, answer: str) -> tuple[int, int] | None:
    """Where the answer stands as whole words for the first time; None where it does not."""
    found = re.search(rf"(?<!\w){re.escape(plain(answer))}(?!\w)", sentence.casefold())
    return found.span() if found else None


def replies(lm: LM, asks: Iterable[Ask]) -> dict[Ask, Reply]:
    """Greedy replies, each written until its three events are settled, at most 32 tokens long."""
    asks = list(dict.fromkeys(asks))
    rows = [lm.rows([ask.prompt], chat=CONVERSATION[ask.metric])[0][0] for ask in asks]
    targets = [[within_limit(lm, text) for text in ask.right] for ask in asks]

    def settled(i: int, ids: list[int]) -> bool:
        text = lm.texts([rows[i]], [ids])[0]
        if text.endswith("\ufffd") or not judge_any(text, targets[i]).settled:
            return False  # "\ufffd": a character of several tokens is not complete yet
        if not named(text, asks[i].right, asks[i].rival)[1]:
            return False
        return len(ids) >= READABLE or _WORD.search(text) is not None

    texts = lm.texts(rows, generation.generate(lm, rows, LIMIT, until=settled).ids)
    found = {}
    for ask, text, some in zip(asks, texts, targets, strict=True):
        verdict = judge_any(text, some)
        # of an answer that is longer than what was written, the beginning is enough
        says = verdict.begins or named(text, ask.right, ask.rival)[0]
        found[ask] = Reply(text, verdict.begins, verdict.exact, says)
    return found
