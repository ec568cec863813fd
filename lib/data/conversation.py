"""Facts in conversation: a case's fact as a question, and the same question in other languages.

The questions of relations and the translations stand in conversation.json. They were written by
hand, before any edit was measured with them. A case whose prompt is itself a question, as in ZsRE,
needs none. Two turns about other things, which may stand before a question, are here as well.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .facts import Case, fill

CONVERSATION = Path(__file__).with_suffix(".json")
# what a person and the model said before, about no fact: pairs of message and reply
TWO_TURNS = (
    (
        "How do I boil an egg?",
        "Put the egg into boiling water, wait for eight minutes, and cool it under cold water.",
    ),
    (
        "Thank you. And what can I do on a rainy day?",
        "You could read a book, bake a cake, or play a board game with friends.",
    ),
)
_TITLES = "author of"  # the relation whose subjects keep a capital "The" inside a sentence


class Translated(NamedTuple):
    """A case's question in another language, with its answers in that language.

    language  the language's English name.
    question  the question.
    new       the answer that the edit teaches.
    true      the answer so far.
    """

    language: str
    question: str
    new: str
    true: str


def question(case: Case) -> str | None:
    """The fact as a question; None where the relation has none and the prompt is no question.

    Deterministic: the prompt itself where it ends in a question mark, otherwise the relation's
    question with the subject in it, whose leading "The" becomes "the" (but in titles of books).
    """
    fact = case.fact
    if fact.text.rstrip().endswith("?"):
        return fact.text
    template = _table()["questions"].get(case.relation)
    if template is None or fact.subject is None:
        return None
    return fill(template, _inside(fact.subject, case.relation))


def translations(case: Case) -> tuple[Translated, ...]:
    """The fact as a question in other languages, of which the table has all words needed.

    A language is left out where it has no question for the relation, or lacks the name of the
    subject or of one of the two answers.
    """
    fact, found = case.fact, []
    for language, table in _table()["languages"].items():
        template, names = table["questions"].get(case.relation), table["names"]
        words = [names.get(word) for word in (fact.subject, fact.target_new, fact.target_true)]
        if template is not None and all(words):
            subject, new, true = words
            found.append(Translated(language, fill(template, subject), new, true))
    return tuple(found)


def _inside(subject: str, relation: str | None) -> str:
    """The subject as it stands inside a sentence."""
    if relation != _TITLES and subject.startswith("The "):
        return "the " + subject.removeprefix("The ")
    return subject


@cache
def _table() -> dict[str, Any]:
    return json.loads(CONVERSATION.read_text(encoding="utf-8"))
