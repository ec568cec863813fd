"""Facts in conversation: turning a case's fact into a question.

The questions for relations are in fact_as_question.json; we wrote them by hand before using them
for measuring any edit. A case whose prompt is itself a question, as in ZsRE, does not need one.
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
    """Return the fact as a question, or None if neither the relation nor the prompt gives one.

    The result is deterministic: the prompt itself if it ends in a question mark, otherwise the
    relation's question containing the subject, whose leading "The" becomes "the" (except in titles
    of books).
    """
    fact = case.fact
    if fact.text.rstrip().endswith("?"):
        return fact.text
    template = _table()["questions"].get(case.relation)
    if template is None or fact.subject is None:
        return None
    return fill(template, inside(fact.subject, case.relation))


def inside(subject: str, relation: str | None) -> str:
    """Return the subject as written inside a sentence."""
    if relation != _TITLES and subject.startswith("The "):
        return "the " + subject.removeprefix("The ")
    return subject


@cache
def _table() -> dict[str, Any]:
    return json.loads(CONVERSATION.read_text(encoding="utf-8"))
