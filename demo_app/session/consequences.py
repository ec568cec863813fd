"""Questions about the consequences of a visitor's fact, and whether the model can infer them.

An example has its own questions. A visitor's fact borrows them from examples with the same relation
and the same new answer: from "the Colosseum is in Madrid", we get the country of anything else
moved there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import lib
from lib.data.facts import Probe
from lib.evaluation.answers import plain
from lib.evaluation.metrics import TABLE
from lib.evaluation.probe_prompts import Item
from lib.evaluation.prompt_batch import Base

from .views import capital

# the fact states the subject's location
PLACE = re.compile(r"\{\} (is|are|stands?|lies?)( located| situated)? in( the \w+ of)?")
TOKENS = 24  # tokens of the model's free continuation


def borrowed(fact: lib.Fact, relation: str | None, cases: Iterable[lib.Case]) -> list[Probe]:
    """Adapt the questions from cases with this relation and the same new answer.

    In a one-hop question, the fact's subject replaces the other case's; in a reverse question, the
    fact's subject is the answer. Questions about aliases of the other subject cannot be reused.
    """
    found: list[Probe] = []
    for case in cases:
        lender = case.fact
        if case.relation != relation or plain(lender.target_new) != plain(fact.target_new):
            continue
        for probe in case.portability:
            if probe.kind == "reverse" and plain(probe.target) == plain(lender.subject):
                found.append(replace(probe, target=fact.subject, aliases=()))
            elif probe.kind == "one-hop" and (text := _about(probe, lender.subject, fact.subject)):
                found.append(replace(probe, prompt=text, wordings=()))
    return list({probe.prompt: probe for probe in found}.values())


def _about(probe: Probe, lender: str, subject: str) -> str | None:
    """The question with its subject replaced, or None if it doesn't name the subject."""
    named = next((one for one in (lender, _inside(lender)) if one in probe.prompt), None)
    if named is None:
        return None
    head, _, tail = probe.prompt.partition(named)
    return f"{head}{_inside(subject) if head else capital(subject)}{tail}"


def _inside(subject: str) -> str:
    """A subject as written inside a sentence: "The Louvre" -> "the Louvre"."""
    return f"t{subject[1:]}" if subject.startswith("The ") else subject


def opening(fact: lib.Fact) -> str:
    """A text leading up to a fact's subject, for the model to continue.

    If the fact states a location, the text is about a journey there, so that the model can name the
    place itself.
    """
    name = str(fact.subject or fact.text)
    if PLACE.fullmatch(fact.prompt):
        return f"My trip to see {_inside(name)} began when I arrived in"
    return f"Let me tell you about {_inside(name)}. {capital(name)}"


def known(lm: lib.LM, base: Base, probes: Iterable[Probe]) -> dict[str, bool]:
    """{question's prompt: whether the base model knows all of its parts}, asking each part once.

    A consequence of an edit depends on another fact, for example that Rome is in Italy. A model
    that doesn't know this fact cannot infer the consequence, so the question says nothing about the
    edit.

    base: the base model's answers so far; new answers are added to it.
    """
    follows = TABLE["portability"]
    items = [Item(0, follows, one.prompt, one.target, parts=one.parts) for one in probes]
    base.read(lm, items, 0)
    return {item.prompt: base.knows(item) for item in items}
