"""The prompts for testing a case: its own, and negatives made from other cases.

`probe_items` lists them as items, one per case, metric and prompt. Because this happens before
running any model, a stream can measure the same items at every point.

Questions about consequences are also listed under the name of their kind, such as the metric
"portability: alias", with two additional lines: the base model's answers to the same questions, and
the number of them whose parts it knows. If more than "chat" is requested, metrics in the chat
template also have an additional line: how often the base model gives the old answer when prompted
in that form.
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

TRIES = 64  # maximum number of other cases to examine when looking for a negative


class Item(NamedTuple):
    """One prompt of one case under one metric.

    case      The case's name in the tables.
    metric    A metric of `metrics.TABLE`, or one of its additional lines.
    prompt    The text of the question.
    answer    The answer to look for: one that should be given, or for negation_leak one that should
              not. None represents the base model's answer, whatever it is.
    other     The answer that should be less probable, None without one.
    aliases   Other answers that are right when they are generated.
    wordings  Other wordings of the prompt; answering one of them correctly is enough.
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
        """Return the wordings used for generating, starting with the prompt."""
        return self.prompt, *self.wordings

    @property
    def right(self) -> Any:
        """Return the target of its generated text, in the form used by `queries.generated`."""
        if self.metric.chat:
            return Named((str(self.answer), *self.aliases), self.other)
        return right(self.answer, self.aliases)

    @property
    def has_rival(self) -> bool:
        """Return whether there is a rival answer differing from the wanted one."""
        return self.other is not None and plain(self.other) != plain(str(self.answer))


def right(target: Any, aliases: tuple[str, ...]) -> Any:
    """Return the right answers in the form used by `queries.generated`: a text, or several."""
    return (target, *aliases) if aliases else target


def probe_items(
    cases: Sequence[Case],
    metrics: Collection[str] = METRICS,
    pool: Sequence[Case] | None = None,
    edited: Iterable[Fact] = (),
    seed: int = 0,
) -> list[Item]:
    """Return all items of the cases, case by case; they always include efficacy.

    The metric same_subject fills this subject into the template of a case with another relation.
    The metric same_relation fills another subject into this case's template: the subject of a case
    with the same relation if that does not give an edited fact, otherwise any. A prompt written by
    the cases or `edited` is never a negative.

    pool    The cases used for making negatives, by default the cases themselves.
    edited  Other facts written by the patch being tested.
    seed    Determines, together with the fact's text, which negatives are chosen.
    """
    others = _Others(cases if pool is None else pool, cases, edited, seed)
    return [
        item for name, case in names(cases).items() for item in _items(name, case, metrics, others)
    ]


def names(cases: Sequence[Case]) -> dict[int | str, Case]:
    """Return the cases by id, or by number from 0 if ids are not unique.

    For example, cases made by hand do not have their own ids.
    """
    found = {case.id: case for case in cases}
    return found if len(found) == len(cases) else dict(enumerate(cases))


def _items(
    name: int | str, case: Case, metrics: Collection[str], others: _Others
) -> Iterator[Item]:
    """Yield the items of one case, metric by metric, looking only for those requested."""
    fact = case.fact
    new, old = fact.target_new, fact.target_true

    # a prompt with its answer and the rival, or whole items if there are additional lines
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
    """Yield the item of the fact in conversation, followed by the base model's own.

    With "chat" but not "question", as in a plain evaluation, there is no line for the base model:
    replies are long, and two of them would take as long as all other metrics together.
    """
    fact = case.fact
    if prompt is not None:
        yield Item(name, TABLE[metric], prompt, fact.target_new, fact.target_true)
        if fact.target_true is not None and "question" in metrics:
            yield Item(name, TABLE[metric].of(BASE), prompt, fact.target_true)


def _consequences(name: int | str, case: Case) -> Iterator[Item]:
    """Yield items for the questions about consequences, under the pooled metric and by kind."""
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
    """A search for negatives among other cases; the choice depends only on the fact and the seed.

    pool         The cases with a subject, for borrowing subjects and templates.
    by_relation  The same cases, by their relation.
    written      (subject, relation) of every case being tested.
    texts        The prompts of every edited fact.
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
        """Return at most TRIES cases of the pool, in the order of trying them."""
        draw = random.Random(f"{self.seed} {case.fact.text}")  # text: the same in every process
        return draw.sample(pool, min(TRIES, len(pool)))

    def _free(self, made: Iterable[tuple[str | None, Case]]) -> Iterator[tuple[str]]:
        """Yield the first prompt that no edit writes, for a subject and relation that none writes.

        made  subjects, each with the case whose prompt it is inserted into
        """
        for subject, case in made:
            prompt = fill(case.fact.prompt, subject)
            known = (normal(subject or ""), _relation(case)) in self.written
            if not known and normal(prompt) not in self.texts:
                yield (prompt,)
                return

    def same_subject(self, case: Case) -> Iterator[tuple[str]]:
        """Yield a prompt about this case's subject and another relation, if one is found."""
        fact = case.fact
        return self._free(
            (fact.subject, other)
            for other in (self._some(case, self.pool) if fact.subject is not None else ())
            if _relation(other) != _relation(case) and other.fact.prompt != fact.prompt
        )

    def same_relation(self, case: Case) -> Iterator[tuple[str]]:
        """Yield this case's prompt about another subject, if one is found."""
        fact = case.fact
        near = self.by_relation.get(_relation(case), [])
        pools = (near, self.pool) if fact.subject is not None else ()
        some = (other.fact.subject for pool in pools for other in self._some(case, pool))
        return self._free((one, case) for one in some if normal(one) != normal(fact.subject))


def _relation(case: Case) -> str:
    return case.relation or case.fact.prompt


def normal(text: str) -> str:
    """Return the form for comparing subjects and prompts: ignoring case, single spaces."""
    return " ".join(text.casefold().split())
