"""Planning a stream's measurements: selecting the facts to measure at each point.

A long stream measures a sample: some of its oldest facts, some of the last batches, and some from
between. A fact contradicted by a later fact does not count as lost, so `contradicted` finds such
facts.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import pandas as pd

from ..data.facts import Case
from ..evaluation.answers import plain
from ..evaluation.probe_prompts import Item, names, normal, probe_items

GROUPS = ("old", "between", "recent")
_NEGATIVES = ("same_subject", "same_relation")


class MeasurementPlan:
    """The test items of a run, planned once for all points, ensuring that all test the same items.

    draws  {point: {group: rows of the stream}}, the rows that each point measures. Point 0 measures
           the base model on the rows of the stream's end.
    names  {row: the case's name in the tables}, for all rows that some point measures.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        batch_size: int,
        points: Sequence[int],
        metrics: Collection[str],
        pool: Sequence[Case] | None,
        seed: int,
        count: int | None,
    ) -> None:
        # the rows that each point measures: all so far, or a sample of them
        self.draws: dict[int, Mapping[str, Sequence[int]]] = {
            point: {"all": range(end)} if count is None else sampled(end, batch_size, count, seed)
            for point in {0, *points}
            for end in [point or len(cases)]
        }
        # create the items of all these rows at once
        rows = sorted({row for point in self.draws for row in self.rows(point)})
        shown = [cases[row] for row in rows]
        self.names = dict(zip(rows, names(shown), strict=True))
        # sampled cases do not include the others' prompts, which are also edited
        items = free(probe_items(shown, metrics, pool, seed=seed), cases)
        self._items = {name: list(some) for name, some in groupby(items, lambda item: item.case)}

    def rows(self, point: int) -> list[int]:
        """Return the rows measured at a point, in the stream's order."""
        return sorted(row for group in self.draws[point].values() for row in group)

    def items(self, point: int) -> list[Item]:
        """Return the items to test at a point."""
        return [item for row in self.rows(point) for item in self._items[self.names[row]]]

    def every(self) -> Iterator[Item]:
        """Yield the items of all points together."""
        return (item for items in self._items.values() for item in items)

    def named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the lines of a table needed at some point, using case names instead of numbers.

        In `rows`, the column "case" contains rows of the stream.
        """
        needed = rows[rows["case"].isin(self.names.keys())]
        return needed.assign(case=[self.names[row] for row in needed["case"]])


def sampled(point: int, batch_size: int, count: int, seed: int = 0) -> dict[str, list[int]]:
    """Return rows to measure after `point` edits: at most `count` old, between and recent, sorted.

    Recent rows belong to the last batch, or to as many batches as contain `count` rows. Old rows
    belong to the first quarter; all others are between. The sample depends only on these four
    numbers, so it is the same for every editor.

    sampled(1000, 100, 2) -> {"old": [157, 249], "between": [274, 680], "recent": [964, 984]}
    """
    draw = random.Random(f"{seed} {point}")
    batches = -(-point // batch_size)
    recent = max(0, batches - -(-count // batch_size)) * batch_size
    quarter = min(point // 4, recent)
    parts = (range(quarter), range(quarter, recent), range(recent, point))
    return {
        group: sorted(draw.sample(part, min(count, len(part))))
        for group, part in zip(GROUPS, parts, strict=True)
    }


def free(items: Iterable[Item], cases: Iterable[Case]) -> list[Item]:
    """Return the items without negatives whose prompt is the edit prompt of one of the cases."""
    taken = {normal(case.fact.text) for case in cases}
    return [
        item
        for item in items
        if item.metric.name not in _NEGATIVES or normal(item.prompt) not in taken
    ]


def contradicted(cases: Sequence[Case]) -> set[int]:
    """Return the numbers of cases whose subject and prompt a later case gives another target."""
    written: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    found = set()
    for i, case in enumerate(cases):
        key, target = _key(case), plain(case.fact.target_new)
        # a contradicted fact is settled, so each leaves its list at most once
        found |= {j for j, other in written[key] if other != target}
        written[key] = [(j, other) for j, other in written[key] if other == target]
        written[key].append((i, target))
    return found


def _key(case: Case) -> tuple[str, str]:
    return normal(case.fact.subject or ""), normal(case.fact.text)
