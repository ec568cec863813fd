"""The metrics of an evaluation, in one table, and the (metric, event) pairs that are asked.

A line beside a metric has its name with an end: " (base model)" for the base model's own answers to
the same questions, and " (parts known)" for the share of questions whose parts it knows. Tables and
stored scores have these names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from ..errors import ArgumentError
from .answers import EVENTS

NAMED = "generation_named"
BASE = " (base model)"
PARTS = " (parts known)"
_FREE = ("generation", "generation_exact")  # events of text that the model writes by itself
_CHAT = (*_FREE, NAMED)
_ALL = (*EVENTS, "generation_exact")


class Metric(NamedTuple):
    """What is known of a metric before anything is asked.

    events   the events that have a meaning for it, in the order of tables.
    label    what readers see in place of its name.
    usual    a plain evaluation measures it.
    chat     its prompts are asked in the chat template.
    of_fact  it no longer counts for a fact that a later edit of the same run contradicts.
    """

    events: tuple[str, ...]
    label: str | None = None
    usual: bool = True
    chat: bool = False
    of_fact: bool = False

    @property
    def generated(self) -> bool:
        """Whether generated text alone decides it."""
        return self.events[0] == "generation"


TABLE = {
    "efficacy": Metric(_ALL),
    "retention": Metric(_ALL, usual=False, of_fact=True),
    "generalization": Metric(_ALL, of_fact=True),
    "specificity": Metric(_ALL),
    "portability": Metric(("teacher_forced", *_FREE), of_fact=True),
    "locality": Metric(("teacher_forced", "generation", "kl_nats")),
    "same_subject": Metric(("teacher_forced", "generation"), "same subject, another relation"),
    "same_relation": Metric(("teacher_forced", "generation"), "same relation, another subject"),
    "negation_leak": Metric(("generation",), "negation leak (lower is better)", of_fact=True),
    "negation_base": Metric(
        ("generation",), "negation leak of the base's own answers", usual=False, of_fact=True
    ),
    "chat": Metric(_CHAT, "efficacy, asked in the chat template", chat=True, of_fact=True),
    "question": Metric(
        _CHAT, "efficacy, asked as a question", usual=False, chat=True, of_fact=True
    ),
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


def stem(metric: str) -> str:
    """The metric of TABLE that a line belongs to: "portability: alias" -> "portability"."""
    return metric.split(":")[0].split(" (")[0]


def events_of(metric: str, events: Collection[str] = EVENTS) -> list[str]:
    """The events that have a meaning for a metric, or for a line beside one, and are asked for.

    Who asks for `generation` gets the other events of generated text as well.
    """
    known = TABLE[stem(metric)]
    found = _FREE if metric.endswith(BASE) and not known.chat else known.events
    shown = {*events, "kl_nats"} | ({*_CHAT} if "generation" in events else set())
    return [e for e in (("generation",) if metric.endswith(PARTS) else found) if e in shown]


def asked(
    metrics: Collection[str], events: Collection[str], names: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """The (metric, event) pairs of the tables, in order; efficacy is always among them.

    names  The metrics of the test items, whose kinds of consequences get lines of their own.

    Raises ValueError for a metric or an event that is not known.
    """
    _known("event", events, EVENTS)
    _known("metric", metrics, tuple(dict.fromkeys((*METRICS, *CONVERSATION, "retention"))))
    wanted = {*metrics, "efficacy"} | ({"negation_base"} if "negation_leak" in metrics else set())
    found = list(dict.fromkeys(names))
    every = [line for name in TABLE if name in wanted for line in (name, *lines(found, name))]
    return [(m, e) for m in dict.fromkeys(every) for e in events_of(m, events)]


def lines(names: Collection[str], of: str) -> list[str]:
    """The lines of a metric among the names: kind by kind, each with those of the base model."""
    found = [name for name in names if name != stem(name) and stem(name) == of]
    kinds = list(dict.fromkeys(name.removesuffix(BASE).removesuffix(PARTS) for name in found))
    return [kind + end for kind in kinds for end in ("", BASE, PARTS) if kind + end in found]


def _known(what: str, given: Collection[str], known: Sequence[str]) -> None:
    for name in [given] if isinstance(given, str) else given:
        if name not in known or isinstance(given, str):
            raise ArgumentError(f"{what}s should be a list of {', '.join(known)}, not {given!r}")
