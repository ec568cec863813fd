"""The metrics of an evaluation, in one table, and the (metric, event) pairs that are asked.

A metric may have lines beside it: one for each kind of its questions, one for the base model's own
answers to the same questions, and one for the share of questions whose parts the base model knows.
Each line is a `Metric` of its own. Tables and stored scores have its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import ArgumentError
from .answers import EVENTS

NAMED = "generation_named"
ABOUT = EDITED, BASE, PARTS = "edited model", "base model", "parts known"
_FREE = ("generation", "generation_exact")  # events of text that the model writes by itself
_CHAT = (*_FREE, NAMED)
_ALL = (*EVENTS, "generation_exact")


class Metric(NamedTuple):
    """What is known of a metric, or of a line beside one, before anything is asked.

    name     what tables and files call it.
    events   the events that have a meaning for it, in the order of tables.
    label    what readers see in place of its name.
    usual    a plain evaluation measures it.
    chat     its prompts are asked in the chat template.
    of_fact  it no longer counts for a fact that a later edit of the same run contradicts.
    stated   it counts only where the model gives the answer at the fact's own prompt.
    about    EDITED, or BASE for the base model's own answers, or PARTS for the share of questions
             whose parts the base model knows.
    beside   the name of the metric beside which this line stands; None for those of TABLE.
    kind     the kind of its questions, where it is a line of one kind.
    """

    name: str
    events: tuple[str, ...]
    label: str | None = None
    usual: bool = True
    chat: bool = False
    of_fact: bool = False
    stated: bool = False
    about: str = EDITED
    beside: str | None = None
    kind: str | None = None

    @property
    def generated(self) -> bool:
        """Whether generated text alone decides it."""
        return self.events[0] == "generation"

    def of_kind(self, kind: str) -> Metric:
        """The line of its questions of one kind: "portability: alias"."""
        return self._replace(name=f"{self.name}: {kind}", kind=kind, beside=self.name)

    def of(self, about: str) -> Metric:
        """The line beside it about BASE or PARTS: "portability: alias (base model)"."""
        events = ("generation",) if about == PARTS else self.events if self.chat else _FREE
        line = self._replace(name=f"{self.name} ({about})", events=events, about=about)
        return line._replace(label=None, beside=self.beside or self.name)

    def among(self, events: Collection[str]) -> list[str]:
        """Those of its events that are asked for.

        Who asks for `generation` gets the other events of generated text as well.
        """
        shown = {*events, "kl_nats"} | ({*_CHAT} if "generation" in events else set())
        return [event for event in self.events if event in shown]


_NEGATED: dict[str, Any] = {"events": ("generation",), "of_fact": True, "stated": True}
TABLE = {
    metric.name: metric
    for metric in (
        Metric("efficacy", _ALL),
        Metric("retention", _ALL, usual=False, of_fact=True),
        Metric("generalization", _ALL, of_fact=True),
        Metric("specificity", _ALL),
        Metric("portability", ("teacher_forced", *_FREE), of_fact=True),
        Metric("locality", ("teacher_forced", "generation", "kl_nats")),
        Metric("same_subject", ("teacher_forced", "generation"), "same subject, another relation"),
        Metric("same_relation", ("teacher_forced", "generation"), "same relation, another subject"),
        Metric("negation_leak", label="negation leak (lower is better)", **_NEGATED),
        Metric(
            "negation_base",
            label="negation leak of the base's own answers",
            usual=False,
            about=BASE,
            **_NEGATED,
        ),
        Metric("chat", _CHAT, "efficacy, asked in the chat template", chat=True, of_fact=True),
        Metric("question", _CHAT, "efficacy, asked as a question", False, chat=True, of_fact=True),
    )
}
METRICS = (*(name for name, metric in TABLE.items() if metric.usual), "perplexity")
CONVERSATION = tuple(name for name, metric in TABLE.items() if metric.chat)
LOWER_IS_BETTER = ("negation_leak", "kl_nats")
LABELS = {
    **{name: metric.label for name, metric in TABLE.items() if metric.label},
    "teacher_forced": "teacher-forced",
    "generation_exact": "generation, exact",
    "generation_named": "generation, named",
    "kl_nats": "KL(base ‖ edited), nats",
}


def asked(
    metrics: Collection[str], events: Collection[str], lines: Iterable[Metric] = ()
) -> list[tuple[str, str]]:
    """The (metric, event) pairs of the tables, in order; efficacy is always among them.

    lines  The metrics of the test items: those that are no metric of TABLE stand beside theirs.

    Raises ValueError for a metric or an event that is not known.
    """
    _known("event", events, EVENTS)
    _known("metric", metrics, (*(m.name for m in TABLE.values() if m.about != BASE), "perplexity"))
    found = {name: [metric] for name, metric in TABLE.items() if name in wanted(metrics)}
    # kind by kind, each with the lines of the base model
    lines = list(dict.fromkeys(lines))
    kinds = list(dict.fromkeys((line.beside, line.kind) for line in lines))
    lines.sort(key=lambda one: (kinds.index((one.beside, one.kind)), ABOUT.index(one.about)))
    for line in lines:
        if line.beside in found:
            found[line.beside].append(line)
    return [(m.name, event) for some in found.values() for m in some for event in m.among(events)]


def wanted(metrics: Collection[str]) -> set[str]:
    """The metrics that are measured where these are asked for."""
    return {*metrics, "efficacy"} | ({"negation_base"} if "negation_leak" in metrics else set())


def counted(lines: Iterable[Metric]) -> dict[str, str]:
    """{line: the metric whose questions it counts} of the lines about known parts."""
    parts = [line for line in lines if line.about == PARTS]
    return {line.name: ": ".join(filter(None, (line.beside, line.kind))) for line in parts}


def _known(what: str, given: Collection[str], known: Sequence[str]) -> None:
    for name in [given] if isinstance(given, str) else given:
        if name not in known or isinstance(given, str):
            raise ArgumentError(f"{what}s should be a list of {', '.join(known)}, not {given!r}")
