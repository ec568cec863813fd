"""The prompts that test a case: its own, and negatives made from other cases.

`probe_items` lists them as items, one per case, metric and prompt. It does so before any model
runs, so that a stream asks the same items at all points at which it measures.

Questions about consequences are asked once more under the name of their kind, as the metric
"portability: alias" is, with two lines beside it: what the base model answers to the same
questions, and for how many of them it knows the parts. Metrics in the chat template have a line
beside them as well, where more than "chat" is asked: how often the base model gives the old answer
when it is asked in that form.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..data import conversation as conversations
from ..data.facts import Case, Fact, Probe, fill
from ..data.negation import negate
from .answers import Named, plain
from .metrics import BASE, CONVERSATION, METRICS, PARTS, TABLE, stem

TRIES = 64  # the most other cases that are looked at to find a negative


class Item(NamedTuple):
    """One prompt of one case under one metric.

    case      The case's name in the tables.
    metric    A name of `metrics.TABLE`, or a line beside one of them.
    prompt    The text that is asked.
    answer    The answer that is looked for: one that should come, or for negation_leak one that
              should not. None stands for whatever the base model answers.
    other     The answer that should be less probable, None where there is none.
    aliases   Further answers that are right when they are generated.
    wordings  Further wordings of the prompt; one that is answered rightly is enough.
    parts     Questions that the base model has to answer, or else the item does not count.
    """

    case: int | str
    metric: str
    prompt: str
    answer: str | None = None
    other: str | None = None
    aliases: tuple[str, ...] = ()
    wordings: tuple[str, ...] = ()
    parts: tuple[Probe, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """The wordings that are generated from: the prompt first."""
        return self.prompt, *self.wordings

    @property
    def chat(self) -> bool:
        """Whether it is asked in the chat template."""
        return TABLE[stem(self.metric)].chat

    @property
    def right(self) -> Any:
        """The target of its generated text, as `queries.generated` takes it."""
        if self.chat:
            return Named((str(self.answer), *self.aliases), self.other)
        return right(self.answer, self.aliases)

    @property
    def has_rival(self) -> bool:
        """Whether there is a rival answer, and it differs from the wanted one."""
        return self.other is not None and plain(self.other) != plain(str(self.answer))

    @property
    def of_base(self) -> bool:
        """Whether the item asks the base model and not the edited one."""
        return self.metric == "negation_base" or self.metric.endswith((BASE, PARTS))


def right(target: Any, aliases: tuple[str, ...]) -> Any:
    """The right answers as `queries.generated` takes them: a text, or a tuple of texts."""
    return (target, *aliases) if aliases else target


def probe_items(
    cases: Sequence[Case],
    metrics: Collection[str] = METRICS,
    pool: Sequence[Case] | None = None,
    edited: Iterable[Fact] = (),
    seed: int = 0,
) -> list[Item]:
    """All items of the cases, case by case; efficacy is always among them.

    The metric same_subject fills this subject into the template of a case with another relation.
    The metric same_relation fills another subject into this case's template: the subject of a case
    with the same relation where that gives no edited fact, otherwise any. A prompt that the cases
    or `edited` write is never a negative.

    pool    The cases from which negatives are made, by default the cases themselves.
    edited  Further facts that the patch under test has written.
    seed    Decides, together with the fact's text, which negatives are drawn.
    """
    others = _Others(cases if pool is None else pool, cases, edited, seed)
    return [
        item for name, case in names(cases).items() for item in _items(name, case, metrics, others)
    ]


def names(cases: Sequence[Case]) -> dict[int | str, Case]:
    """The cases by their id, or by their number from 0 where ids are not unique.

    Cases made by hand have no ids of their own, for example.
    """
    found = {case.id: case for case in cases}
    return found if len(found) == len(cases) else dict(enumerate(cases))


def _items(
    name: int | str, case: Case, metrics: Collection[str], others: _Others
) -> Iterator[Item]:
    fact = case.fact
    new, old = fact.target_new, fact.target_true
    yield Item(name, "efficacy", fact.text, new, old)
    if "generalization" in metrics:
        yield from (Item(name, "generalization", prompt, new, old) for prompt in case.paraphrases)
    if "specificity" in metrics:
        yield from (Item(name, "specificity", p.prompt, p.target, new) for p in case.neighborhood)
    if "portability" in metrics:
        yield from _consequences(name, case)
    if "locality" in metrics:
        yield from (Item(name, "locality", prompt) for prompt in case.locality)
    if "same_subject" in metrics and (prompt := others.same_subject(case)):
        yield Item(name, "same_subject", prompt)
    if "same_relation" in metrics and (prompt := others.same_relation(case)):
        yield Item(name, "same_relation", prompt)
    if "negation_leak" in metrics:
        yield Item(name, "negation_leak", negate(fact), new)
        if old is not None:
            yield Item(name, "negation_base", negate(fact), old)
    yield from _conversation(name, case, metrics)


def _conversation(name: int | str, case: Case, metrics: Collection[str]) -> Iterator[Item]:
    """The items of the fact in conversation, each with the base model's own beside it.

    Beside "chat" alone, which a plain evaluation asks, there is no line of the base model: replies
    are long, and two of them would take as long as all other metrics together.
    """
    fact, question = case.fact, conversations.question(case)
    with_base = set(metrics) & set(CONVERSATION) - {"chat"}
    prompts = {"chat": fact.text, "question": question}
    for metric, prompt in prompts.items():
        if metric in metrics and prompt is not None:
            yield Item(name, metric, prompt, fact.target_new, fact.target_true)
            if fact.target_true is not None and with_base:
                yield Item(name, metric + BASE, prompt, fact.target_true)


def _consequences(name: int | str, case: Case) -> Iterator[Item]:
    """The items of the questions about consequences, under the pooled metric and their kind's."""
    for probe in case.portability:
        own = "portability" if probe.kind is None else f"portability: {probe.kind}"
        asked = ["portability"] if probe.kind is None else ["portability", own, own + BASE]
        for metric in [*asked, *([own + PARTS] if probe.parts else [])]:
            yield Item(
                name, metric, probe.prompt, probe.target,
                aliases=probe.aliases, wordings=probe.wordings, parts=probe.parts,
            )  # fmt: skip


class _Others:
    """A search for negatives among other cases; the choice hangs on the fact and the seed alone.

    pool         The cases with a subject, from which subjects and templates are borrowed.
    by_relation  The same cases, by their relation.
    written      (subject, relation) of every case that is tested.
    texts        The prompts of every fact that is edited.
    """

    def __init__(
        self, pool: Sequence[Case], cases: Sequence[Case], edited: Iterable[Fact], seed: int
    ) -> None:
        self.pool = [case for case in pool if case.fact.subject is not None]
        self.by_relation: dict[str, list[Case]] = defaultdict(list)
        for case in self.pool:
            self.by_relation[_relation(case)].append(case)
        self.written = {(normal(case.fact.subject or ""), _relation(case)) for case in cases}
        self.texts = {normal(fact.text) for fact in [*edited, *(case.fact for case in cases)]}
        self.seed = seed

    def _some(self, case: Case, pool: Sequence[Case]) -> list[Case]:
        """At most TRIES cases of the pool, in the order in which they are tried."""
        draw = random.Random(f"{self.seed} {case.fact.text}")  # text: the same in every process
        return draw.sample(pool, min(TRIES, len(pool)))

    def _free(self, subject: str, relation: str, prompt: str) -> bool:
        """Whether no edit writes this relation of this subject, nor this prompt."""
        return (normal(subject), relation) not in self.written and normal(prompt) not in self.texts

    def same_subject(self, case: Case) -> str | None:
        """A prompt about this case's subject and another relation, None where none is found."""
        subject = case.fact.subject
        for other in self._some(case, self.pool) if subject is not None else ():
            if _relation(other) == _relation(case) or other.fact.prompt == case.fact.prompt:
                continue
            prompt = fill(other.fact.prompt, subject)
            if self._free(subject, _relation(other), prompt):
                return prompt
        return None

    def same_relation(self, case: Case) -> str | None:
        """The prompt of this case about another subject, None where none is found."""
        if case.fact.subject is None:
            return None
        near = self._some(case, self.by_relation.get(_relation(case), []))
        for other in [*near, *self._some(case, self.pool)]:
            if normal(other.fact.subject) == normal(case.fact.subject):
                continue
            prompt = fill(case.fact.prompt, other.fact.subject)
            if self._free(other.fact.subject, _relation(case), prompt):
                return prompt
        return None


def _relation(case: Case) -> str:
    return case.relation or case.fact.prompt


def normal(text: str) -> str:
    """The form in which subjects and prompts are compared: no case, single spaces."""
    return " ".join(text.casefold().split())
