"""The questions about what follows from a visitor's fact, and whether the model can draw it.

An example brings its own questions. A fact that a visitor writes gets those of the examples that
ask the same about another subject, as far as their new answer is the same: from "the Colosseum is
in Madrid" comes the country of whatever else is put there.
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

# says in which place its subject is
PLACE = re.compile(r"\{\} (is|are|stands?|lies?)( located| situated)? in( the \w+ of)?")
TOKENS = 24  # that the model goes on with by itself


def borrowed(fact: lib.Fact, relation: str | None, cases: Iterable[lib.Case]) -> list[Probe]:
    """The questions of cases with this relation and the same new answer, about the fact.

    One step on, the lender's subject gives way to the fact's; from the answer back, the fact's
    subject is what is asked for. Another name of the lender's subject helps nobody else.
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
    """The question with another subject in the lender's place; None where it does not name him."""
    named = next((one for one in (lender, _inside(lender)) if one in probe.prompt), None)
    if named is None:
        return None
    head, _, tail = probe.prompt.partition(named)
    return f"{head}{_inside(subject) if head else capital(subject)}{tail}"


def _inside(subject: str) -> str:
    """A subject inside a sentence: "The Louvre" -> "the Louvre"."""
    return f"t{subject[1:]}" if subject.startswith("The ") else subject


def opening(fact: lib.Fact) -> str:
    """A text that comes to speak of a fact's subject, for the model to go on with.

    Where the fact says in which place it is, a journey there lets the model name the place itself.
    """
    name = str(fact.subject or fact.text)
    if PLACE.fullmatch(fact.prompt):
        return f"My trip to see {_inside(name)} began when I arrived in"
    return f"Let me tell you about {_inside(name)}. {capital(name)}"


def known(lm: lib.LM, base: Base, probes: Iterable[Probe]) -> dict[str, bool]:
    """{prompt of a question: whether the base model knows all of its parts}, each asked once.

    What follows from an edit takes another fact, as that Rome is in Italy. A model that does not
    know it cannot draw the consequence, and the question then says nothing about the edit.

    base  The base model's answers so far; it gets the new ones.
    """
    follows = TABLE["portability"]
    items = [Item(0, follows, one.prompt, one.target, parts=one.parts) for one in probes]
    base.read(lm, items, 0)
    return {item.prompt: base.knows(item) for item in items}
