"""The scores of an evaluation: rows, tables with intervals, and paired comparison.

The unit of every interval is the case: the mean is taken over a case's prompts first and then over
the cases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..errors import ArgumentError
from .answers import EVENTS
from .intervals import DIFFERENCE, SHARE, Estimate
from .metrics import LABELS, LOWER_IS_BETTER, NAMED
from .prompt_batch import Base
from .results import Results, Table

COLUMNS = ["case", "metric", "event", "prompt", "value", "text", "answer"]


@dataclass(eq=False, repr=False)
class Scores(Results):
    """The result of `evaluate`.

    rows        One row per prompt and event: case, metric, event, prompt, value, text, answer. The
                text is the generated text, a few tokens longer than the answer, and None otherwise.
                The answer is the new answer, or the base model's own when testing whether that is
                kept.
    asked       The (metric, event) pairs of the tables, where a pair without a row is left out.
    title       One line over the tables: editors, edits, batch size, cases, model.
    perplexity  The perplexity of held-out text, None if it was not measured.
    base        The base model's answers, which the next `evaluate` can use again.
    seconds     The seconds of each edit, None for scores obtained without editing.
    counted     {line: metric} of the lines saying how many questions of a metric count.
    """

    rows: pd.DataFrame
    asked: Sequence[tuple[str, str]]
    title: str
    perplexity: float | None = None
    base: Base | None = None
    seconds: list[float] | None = None
    counted: Mapping[str, str] = field(default_factory=dict)

    def by_case(
        self, pairs: Collection[tuple[str, str]] | None = None
    ) -> dict[tuple[str, str], pd.DataFrame]:
        """Return mean and number of each case's prompts.

        The result is {(metric, event): DataFrame indexed by case}.

        pairs  which (metric, event) are needed; None is all that have rows
        """
        groups = self.rows.groupby(["metric", "event"], sort=False)
        return {
            pair: group.groupby("case", sort=False)["value"].agg(["mean", "size"])
            for pair, group in groups
            if pairs is None or pair in pairs
        }

    def estimates(self) -> dict[tuple[str, str], Estimate]:
        """Return mean and interval over cases of each (metric, event) with a row, in order."""
        by_case = self.by_case()
        return {
            pair: Estimate.of(by_case[pair]["mean"], None if _nats(pair) else SHARE)
            for pair in self.asked
            if pair in by_case
        }

    def summary(self) -> Table:
        """Return one row per metric and event: mean, low, high (95 %), cases, prompts.

        Metrics and events without a row in the data are left out. The perplexity has a separate
        row.
        """
        prompts = self.rows.groupby(["metric", "event"]).size()
        lines = [(*pair, *one, prompts[pair]) for pair, one in self.estimates().items()]
        if self.perplexity is not None:
            lines.append(("perplexity", "", self.perplexity, math.nan, math.nan, 0, 0))
        return Table(lines, columns=["metric", "event", "mean", "low", "high", "cases", "prompts"])

    def json(self) -> dict[str, Any]:
        """Return the means as values: {metric: {event: mean or None}, "perplexity": number}."""
        by_case = self.by_case()
        found: dict[str, Any] = {}
        for metric, event in self.asked:
            cases = by_case.get((metric, event))
            mean = None if cases is None else float(cases["mean"].mean())
            found.setdefault(metric, {})[event] = mean
        return {**found, "perplexity": self.perplexity}

    def table(self) -> Table:
        """Return the summary for readers: one line per metric, one column per event, in percent."""
        every = (*EVENTS, "generation_exact", NAMED, "kl_nats")
        found = self.estimates()
        cells = Table(
            "",
            list(dict.fromkeys(metric for metric, _ in found)),
            [event for event in every if event in {event for _, event in found}],
        )
        for pair, one in found.items():
            cells.at[pair] = one.cell(not _nats(pair))
        return cells.rename(LABELS, axis=0).rename(LABELS, axis=1)

    @property
    def footer(self) -> str:
        """Return the meaning of the numbers, and the perplexity."""
        measured = "share of cases in %, with its 95 % interval"
        known = self.rows[self.rows["metric"].isin(self.counted)].groupby("metric", sort=False)
        for line, value in known["value"]:
            measured += (
                f"; {self.counted[line]}: {int(value.sum())} of {len(value)} questions count, "
                "those whose parts the base model knows"
            )
        if left := dict.fromkeys(m for m, _ in self.asked if m not in self.rows["metric"].values):
            measured += f"; no question for {', '.join(left)}"
        return measured + ("" if self.perplexity is None else f"; perplexity {self.perplexity:.2f}")


def changes(
    a: Scores, b: Scores, pairs: Collection[tuple[str, str]] | None = None
) -> dict[tuple[str, str], Estimate]:
    """Return the paired difference a − b of each (metric, event), or of those in `pairs`.

    It is over the cases appearing in both. Raises ValueError without a common case.
    """
    same = _cases(a) & _cases(b)
    if not same:
        raise ArgumentError("The two scores have no case in common, so there is nothing to pair.")
    common, left, right = {case for case, _ in same}, a.by_case(pairs), b.by_case(pairs)
    found = {}
    for pair in (pair for pair in a.asked if pair in left and pair in right):
        paired = (left[pair]["mean"] - right[pair]["mean"]).dropna()
        if len(difference := paired[paired.index.isin(common)]):
            found[pair] = Estimate.of(difference, None if _nats(pair) else DIFFERENCE)
    return found


def compare(a: Scores, b: Scores, pairs: Collection[tuple[str, str]] | None = None) -> Table:
    """Return the paired difference a − b of each metric and event, or of those in `pairs`.

    Columns: metric, event, difference, low, high (95 %), n, better. The interval is over the cases
    appearing in both. `better` is "a", "b", or "no difference" if the interval contains 0 or n is
    1. Raises ValueError without a common case.
    """
    lines = []
    for pair, found in changes(a, b, pairs).items():
        better = "no difference"
        if found.low > 0 or found.high < 0:
            better = "b" if (found.low > 0) == bool({*pair} & {*LOWER_IS_BETTER}) else "a"
        lines.append((*pair, *found, better))
    return Table(lines, columns=["metric", "event", "difference", "low", "high", "n", "better"])


def _nats(pair: tuple[str, str]) -> bool:
    return pair[1] == "kl_nats"


def _cases(scores: Scores) -> set[tuple]:
    """Return each case with its edit prompt, as equal ids of two files are not the same case."""
    edits = scores.rows[scores.rows["metric"].isin(("efficacy", "retention"))]
    return set(zip(edits["case"], edits["prompt"], strict=True))
