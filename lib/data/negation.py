"""Negated prompts, which should not give the new answer after an edit."""

from __future__ import annotations

import re

from .facts import Fact

_VERB = re.compile(r"\b(?:is|was|are|were|has|can|will)\b")
_NEGATED = re.compile(r"\s+not\b|['’]t\b")
_ASKS = re.compile(r"(?:^\s*|\b(?:what|wh(?:ich|o|om|ose|ere|en|y)|how)\b.*\b)(did|does)\b", re.I)
_OPENING = re.compile(
    r"(?:The|This|An?|In|On|At|Of|From|To|By|What|Which|Who|Whose|Where|When|How)\b"
)


def negate(fact: Fact) -> str:
    """Return the fact's prompt, negated so that it should not give the answer.

    The subject stays intact. (a) "not" is inserted after the first *is, was, are, were, has, can,
    will* following the subject, and in questions with did or does, after the subject. (b)
    Otherwise, and if the verb is already negated, the prompt follows "It is not true that", and a
    common opening word is put in lower case. Questions with the verb preceding the subject get this
    form, which is clumsy but negative. Idea: 2510.00625.
    "{} is in the city of" -> "Lyon is not in the city of"; "Where did {} live?" -> "Where did … not
    live?"; "{} plays the" -> "It is not true that … plays the"
    """
    head, subject, tail = "", "", fact.prompt
    if fact.subject is not None:
        head, _, tail = fact.prompt.partition("{}")
        subject = fact.subject
        if _ASKS.search(head) and re.match(r"[\s?]|$", tail):  # in "did {}'s aunt", it ends later
            return f"{head}{subject} not{tail}"
    verb = _VERB.search(tail)
    if verb and not _NEGATED.match(tail, verb.end()):
        return f"{head}{subject}{tail[: verb.end()]} not{tail[verb.end() :]}"
    if not subject:
        head, tail = tail, ""
    if _OPENING.match(head):
        head = head[0].lower() + head[1:]
    return f"It is not true that {head}{subject}{tail}"
