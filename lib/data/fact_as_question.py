"""Facts in conversation: a case's fact as a question.

The questions of relations stand in fact_as_question.json; they were written by hand, before any
edit was measured with them. A case whose prompt is itself a question, as in ZsRE, needs none.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from .facts import Case, fill

CONVERSATION = Path(__file__).with_suffix(".json")
_TITLES = "author of"  # the relation whose subjects keep a capital "The" inside a sentence


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
    return fill(template, inside(fact.subject, case.relation))


def inside(subject: str, relation: str | None) -> str:
    """The subject as it stands inside a sentence."""
    if relation != _TITLES and subject.startswith("The "):
        return "the " + subject.removeprefix("The ")
    return subject


@cache
def _table() -> dict[str, Any]:
    return json.loads(CONVERSATION.read_text(encoding="utf-8"))
