"""Additional texts about a fact: a chat question, and a text to continue, in questions.json for
each built-in relation.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import lib
from lib.data.relations import relations


@cache
def _texts() -> dict[str, list[str]]:
    """{relation: (question, text)}, with `{}` as a placeholder for the subject."""
    held = Path(__file__).with_name("questions.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(held)
    return found


def _about(case: lib.Case, which: int) -> str | None:
    known = relations().get(case.relation or "")
    texts = _texts().get(case.relation or "")
    if known is None or texts is None or case.fact.subject is None:
        return None
    subject = case.fact.subject
    # "penguins" inside a sentence, but not "Christmas"
    small = f"{subject[0].lower()}{subject[1:]}"
    if case.paraphrases and not any(subject in text for text in case.paraphrases):
        subject = small if any(small in text for text in case.paraphrases) else subject
    return known.ask(texts[which], subject)


def chat(case: lib.Case) -> str | None:
    """The fact as a chat question, or None if its relation is unknown."""
    return _about(case, 0)


def text_to_continue(case: lib.Case) -> str | None:
    """A text leading up to the fact, or None if its relation is unknown."""
    return _about(case, 1)
