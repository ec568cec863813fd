"""What the page asks about a fact besides its test prompts: a question in a chat, a text to go on
with. Both stand in questions.json for each relation of the classroom.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import lib
from lib.data.relations import relations


@cache
def _texts() -> dict[str, list[str]]:
    """{relation: (question, text)}, with `{}` in the place of the subject."""
    held = Path(__file__).with_name("questions.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(held)
    return found


def _about(case: lib.Case, which: int) -> str | None:
    known = relations().get(case.relation or "")
    texts = _texts().get(case.relation or "")
    if known is None or texts is None or case.fact.subject is None:
        return None
    subject = case.fact.subject
    small = f"{subject[0].lower()}{subject[1:]}"  # "penguins" inside a sentence, "Christmas" not
    if case.paraphrases and not any(subject in text for text in case.paraphrases):
        subject = small if any(small in text for text in case.paraphrases) else subject
    return known.ask(texts[which], subject)


def chat(case: lib.Case) -> str | None:
    """The fact as a question in a conversation; None for a fact of no known relation."""
    return _about(case, 0)


def going_on(case: lib.Case) -> str | None:
    """A text that comes to speak of the fact; None for a fact of no known relation."""
    return _about(case, 1)
