"""The questions about what follows from a visitor's fact, and whether an answer draws it.

An example brings its own questions. A fact that a visitor writes gets those of the examples that
ask the same about another subject, as far as their new answer is the same: from "the Colosseum is
in Madrid" comes the country of whatever else is put there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import lib
from lib.data.facts import Probe
from lib.evaluation.answers import begins, plain
from lib.evaluation.queries import generated


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
    head, named, tail = probe.prompt.partition(lender)
    if not named:
        head, named, tail = probe.prompt.partition(_inside(lender))
    if not named:
        return None
    return (
        f"{head}{_inside(subject)}{tail}" if head else f"{subject[:1].upper()}{subject[1:]}{tail}"
    )


def _inside(subject: str) -> str:
    """A subject inside a sentence: "The Louvre" -> "the Louvre"."""
    return f"t{subject[1:]}" if subject.startswith("The ") else subject


class Known:
    """Which parts of questions the base model knows, asked once each.

    What follows from an edit takes another fact, as that Rome is in Italy. A model that does not
    know it cannot draw the consequence, and the question then says nothing about the edit.
    """

    def __init__(self) -> None:
        self._said: dict[Probe, bool] = {}

    def read(self, lm: lib.LM, probes: Iterable[Probe]) -> Mapping[str, bool]:
        """{prompt of a question: whether the base model knows all of its parts}."""
        probes = list(probes)
        new = [part for probe in probes for part in probe.parts if part not in self._said]
        if new:
            asked = {part: (part.prompt, (part.target, *part.aliases)) for part in new}
            with lm.patched(lib.EMPTY, only=True):
                found = generated(lm, asked.values())
            self._said.update((part, found[pair][1].begins) for part, pair in asked.items())
        return {p.prompt: all(self._said[part] for part in p.parts) for p in probes}


def drawn(probe: Probe, known: bool, text: str) -> tuple[bool | None, str]:
    """Whether an answer draws the consequence, and a word for it; None where it cannot count."""
    if not known:
        return None, "not counted: the model does not know what this takes"
    right = any(begins(text, answer) for answer in (probe.target, *probe.aliases))
    return right, f"follows: {probe.target}" if right else f"not {probe.target}"
