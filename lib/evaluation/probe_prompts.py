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
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..data.fact_as_question import question
from ..data.facts import Case, Fact, Probe, fill
from ..data.negation import negate
from ..model.batching import grouped
from .answers import Named, plain
from .metrics import BASE, METRICS, PARTS, TABLE, Metric, wanted

TRIES = 64  # the most other cases that are looked at to find a negative


class Item(NamedTuple):
    """One prompt of one case under one metric.

    case      The case's name in the tables.
    metric    A metric of `metrics.TABLE`, or a line beside one of them.
    prompt    The text that is asked.
    answer    The answer that is looked for: one that should come, or for negation_leak one that
              should not. None stands for whatever the base model answers.
    other     The answer that should be less probable, None where there is none.
    aliases   Further answers that are right when they are generated.
    wordings  Further wordings of the prompt; one that is answered rightly is enough.
    parts     Questions that the base model has to answer, or else the item does not count.
    """

    case: int | str
    metric: Metric
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
    def right(self) -> Any:
        """The target of its generated text, as `queries.generated` takes it."""
        if self.metric.chat:
            return Named((str(self.answer), *self.aliases), self.other)
        return right(self.answer, self.aliases)

    @property
    def has_rival(self) -> bool:
        """Whether there is a rival answer, and it differs from the wanted one."""
        return self.other is not None and plain(self.other) != plain(str(self.answer))


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
    """The items of one case, metric by metric; what is not asked for is not looked for."""
    fact = case.fact
    new, old = fact.target_new, fact.target_true

    # a prompt with its answer and the rival, or whole items where further lines stand beside them
    prompts: dict[str, Callable[[], Iterable[tuple]]] = {
        "efficacy": lambda: [(fact.text, new, old)],
        "generalization": lambda: [(p, new, old) for p in case.paraphrases],
        "specificity": lambda: [(p.prompt, p.target, new) for p in case.neighborhood],
        "portability": lambda: _consequences(name, case),
        "locality": lambda: [(prompt,) for prompt in case.locality],
        "same_subject": lambda: others.same_subject(case),
        "same_relation": lambda: others.same_relation(case),
        "negation_leak": lambda: [(negate(fact), new)],
        "negation_base": lambda: [(negate(fact), old)] if old is not None else [],
        "chat": lambda: _conversation(name, case, "chat", fact.text, metrics),
        "question": lambda: _conversation(name, case, "question", question(case), metrics),
    }
    measured = wanted(metrics)
    for metric, made in prompts.items():
        for one in made() if metric in measured else ():
            yield one if isinstance(one, Item) else Item(name, TABLE[metric], *one)


def _conversation(
    name: int | str, case: Case, metric: str, prompt: str | None, metrics: Collection[str]
) -> Iterator[Item]:
    """The item of the fact in conversation, and the base model's own beside it.

    Beside "chat" alone, which a plain evaluation asks, there is no line of the base model: replies
    are long, and two of them would take as long as all other metrics together.
    """
    fact = case.fact
    if prompt is not None:
        yield Item(name, TABLE[metric], prompt, fact.target_new, fact.target_true)
        if fact.target_true is not None and "question" in metrics:
            yield Item(name, TABLE[metric].of(BASE), prompt, fact.target_true)


def _consequences(name: int | str, case: Case) -> Iterator[Item]:
    """The items of the questions about consequences, under the pooled metric and their kind's."""
    pooled = TABLE["portability"]
    for probe in case.portability:
        own = pooled if probe.kind is None else pooled.of_kind(probe.kind)
        asked = [pooled] if own is pooled else [pooled, own, own.of(BASE)]
        for metric in [*asked, *([own.of(PARTS)] if probe.parts else [])]:
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
        self.by_relation = grouped((_relation(case), case) for case in self.pool)
        self.written = {(normal(case.fact.subject or ""), _relation(case)) for case in cases}
        self.texts = {normal(fact.text) for fact in [*edited, *(case.fact for case in cases)]}
        self.seed = seed

    def _some(self, case: Case, pool: Sequence[Case]) -> list[Case]:
        """At most TRIES cases of the pool, in the order in which they are tried."""
        draw = random.Random(f"{self.seed} {case.fact.text}")  # text: the same in every process
        return draw.sample(pool, min(TRIES, len(pool)))

    def _free(self, made: Iterable[tuple[str | None, Case]]) -> Iterator[tuple[str]]:
        """The first prompt that no edit writes, and whose relation of this subject none writes.

        made  subjects, each with the case into whose prompt it is filled
        """
        for subject, case in made:
            prompt = fill(case.fact.prompt, subject)
            known = (normal(subject or ""), _relation(case)) in self.written
            if not known and normal(prompt) not in self.texts:
                yield (prompt,)
                return

    def same_subject(self, case: Case) -> Iterator[tuple[str]]:
        """A prompt about this case's subject and another relation, where one is found."""
        fact = case.fact
        return self._free(
            (fact.subject, other)
            for other in (self._some(case, self.pool) if fact.subject is not None else ())
            if _relation(other) != _relation(case) and other.fact.prompt != fact.prompt
        )

    def same_relation(self, case: Case) -> Iterator[tuple[str]]:
        """The prompt of this case about another subject, where one is found."""
        fact = case.fact
        near = self.by_relation.get(_relation(case), [])
        pools = (near, self.pool) if fact.subject is not None else ()
        some = (other.fact.subject for pool in pools for other in self._some(case, pool))
        return self._free((one, case) for one in some if normal(one) != normal(fact.subject))


def _relation(case: Case) -> str:
    return case.relation or case.fact.prompt


def normal(text: str) -> str:
    """The form in which subjects and prompts are compared: no case, single spaces."""
    return " ".join(text.casefold().split())
