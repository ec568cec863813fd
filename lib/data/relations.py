"""Relations of a set of cases: their wordings, and the known answers for their subjects.

Cases of one relation ("capital of") ask about many subjects in several wordings. Together, they
show how to word a question of this kind about any other subject, and which other facts of the kind
exist, making it possible to test a typed fact like a prepared fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from . import as_facts
from .facts import Case, Probe, fill, require_text
from .readers import classroom

_ARTICLE = re.compile(r"^The (?=\S)")
_ANY_ARTICLE = re.compile(r"^(?:the|an?) (?=\S)", re.IGNORECASE)
FACT = 3  # how much more a wording counts if it is a fact's own prompt
_AFTER_ARTICLE = re.compile(r"\b(?:the|an?) $", re.IGNORECASE)  # "The {} language"


@dataclass(frozen=True)
class Relation:
    """One relation with its wordings and its known facts.

    name           the name used by the cases.
    templates      its wordings, each with one `{}` for the subject, starting with the usual ones.
    answers        {subject: true answer}, from the cases and from their neighbors.
    neighbors      questions about other subjects as worded in the cases, with their answers.
    locality       unrelated prompts of its cases.
    titles         whether the subjects are titles, which keep "The" inside a sentence.
    """

    name: str
    templates: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
    neighbors: tuple[Probe, ...]
    locality: tuple[str, ...]
    titles: bool = False

    def ask(self, template: str, subject: str) -> str:
        """Return the template about a subject, written as a sentence: "The" inside becomes "the".

        Raises FactError for a blank subject or a template without exactly one `{}`.
        """
        subject = require_text(subject, "The subject")
        if template.startswith("{}"):
            subject = subject[0].upper() + subject[1:]
        elif _AFTER_ARTICLE.search(template.partition("{}")[0]):
            subject = _ANY_ARTICLE.sub("", subject)
        elif not self.titles:
            subject = _ARTICLE.sub("the ", subject)
        return fill(template, subject)

    def rewordings(self, subject: str, but: str = "", most: int | None = None) -> list[str]:
        """Return the relation's questions about a subject, except the original question.

        but   a prompt to leave out, ignoring case
        most  the maximum number of questions
        """
        found = {self.ask(t, subject): None for t in self.templates}
        return [text for text in found if text.casefold() != but.casefold()][:most]

    def subject(self, prompt: str) -> str | None:
        """Return the subject of a prompt following one of the wordings, otherwise None."""
        return _subject(prompt, self.templates)

    def others(self, subject: str, but: Iterable[str] = ()) -> list[Probe]:
        """Return questions about other subjects: none names this subject, and none is in `but`."""
        name, never = bare(subject), {text.casefold() for text in but}
        return [
            probe
            for probe in self.neighbors
            if name not in probe.prompt.casefold() and probe.prompt.casefold() not in never
        ]


def relations(cases: as_facts.Given | None = None) -> dict[str, Relation]:
    """Return the relations of some cases by name, in the order of the first case of each.

    cases  by default the classroom's; cases without a relation or a subject are left out
    """
    return _classroom() if cases is None else _collect(as_facts.cases(cases))


@cache
def _classroom() -> dict[str, Relation]:
    return _collect(classroom())


def _collect(cases: Iterable[Case]) -> dict[str, Relation]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if case.relation is not None and case.fact.subject is not None:
            groups.setdefault(case.relation, []).append(case)
    return {name: _relation(name, some) for name, some in groups.items()}


def _relation(name: str, cases: list[Case]) -> Relation:
    """Return one relation, counting its wordings and collecting facts from cases and neighbors."""
    count: dict[str, int] = {}  # a fact's own wording counts more than a paraphrase
    titles = False
    for case in cases:
        subject = str(case.fact.subject)
        count[case.fact.prompt] = count.get(case.fact.prompt, 0) + FACT
        for text in case.paraphrases:
            template = _template(text, subject)
            if template is not None:
                count[template] = count.get(template, 0) + 1
                inside = not template.startswith("{}") and _ARTICLE.match(subject)
                titles |= bool(inside) and subject in text
    templates = sorted(count, key=lambda template: -count[template])
    answers: dict[str, str] = {}
    questions: dict[str, Probe] = {}
    for case in cases:
        if case.fact.target_true is not None:
            answers[str(case.fact.subject)] = case.fact.target_true
            own = Probe(case.fact.text, case.fact.target_true)
            questions.setdefault(own.prompt, own)
    for case in cases:
        for probe in case.neighborhood:
            questions.setdefault(probe.prompt, probe)
            other = _subject(probe.prompt, templates)
            if other is not None and bare(other) not in map(bare, answers):
                answers[other] = probe.target
    return Relation(
        name,
        tuple(templates),
        tuple(answers.items()),
        tuple(questions.values()),
        tuple(dict.fromkeys(text for case in cases for text in case.locality)),
        titles,
    )


def _template(text: str, subject: str) -> str | None:
    """Return the text with its single mention of the subject as `{}`, or None if not just one."""
    found = re.findall(rf"(?<!\w){re.escape(subject)}(?!\w)", text, re.IGNORECASE)
    once = len(found) == 1 and "{}" not in text
    return text.replace(found[0], "{}") if once else None


def _subject(text: str, templates: Iterable[str]) -> str | None:
    """Return the text matching `{}` in the longest template fitting the text, or None."""
    for template in sorted(templates, key=len, reverse=True):
        head, _, tail = template.partition("{}")
        middle = text[len(head) : len(text) - len(tail)]
        if middle and text == head + middle + tail:
            return middle
    return None


def bare(subject: str) -> str:
    """Return the subject for comparing: without its article and in lower case."""
    return _ANY_ARTICLE.sub("", subject.strip()).casefold()
