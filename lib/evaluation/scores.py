"""The scores of an evaluation: rows, tables with intervals, and paired comparison.

The unit of every interval is the case: the mean is taken over a case's prompts first and over the
cases then.
"""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..arguments import checked
from ..errors import ArgumentError
from .answers import EVENTS
from .base_answers import Base
from .intervals import DIFFERENCE, SHARE, interval
from .metrics import LABELS, LOWER_IS_BETTER, NAMED, PARTS

COLUMNS = ["case", "metric", "event", "prompt", "value", "text", "answer"]


class Shown(ABC):
    """A result that shows itself as a table with a line over it and one under it."""

    title: str

    @property
    @abstractmethod
    def footer(self) -> str:
        """The line under the table."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """What was measured, for readers."""

    def __repr__(self) -> str:
        return f"{self.title}\n{self.table().to_string()}\n{self.footer}"

    def _repr_html_(self) -> str:
        style = "text-align: left; font-weight: 600; padding: 4px 0"
        caption = f">\n  <caption style='{style}'>{html.escape(self.title)}</caption>\n"
        body = self.table().to_html(border=0).replace(">\n", caption, 1)
        return f"<div>{body}<small>{self.footer}</small></div>"


@dataclass(eq=False, repr=False)
class Scores(Shown):
    """The result of `evaluate`.

    rows        One row per prompt and event: case, metric, event, prompt, value, text, answer. The
                text is the generated one, as long as the event needed it, and None in other events.
                The answer is the wanted one, or the base model's own where that should be kept.
    asked       The (metric, event) pairs of the tables; a pair without a row shows no number.
    title       One line over the tables: editors, edits, batch size, cases, model.
    perplexity  The perplexity of held-out text, None where it was not measured.
    base        The base model's answers, which the next `evaluate` can use again.
    seconds     The seconds of each edit, None where nothing was edited for these scores.
    """

    rows: pd.DataFrame
    asked: Sequence[tuple[str, str]]
    title: str
    perplexity: float | None = None
    base: Base | None = None
    seconds: list[float] | None = None

    @checked
    def by_case(
        self, pairs: Collection[tuple[str, str]] | None = None
    ) -> dict[tuple[str, str], pd.DataFrame]:
        """Mean and number of each case's prompts, {(metric, event): DataFrame indexed by case}.

        pairs  which (metric, event) are wanted; None is all that have rows
        """
        groups = self.rows.groupby(["metric", "event"], sort=False)
        return {
            pair: group.groupby("case", sort=False)["value"].agg(["mean", "size"])
            for pair, group in groups
            if pairs is None or pair in pairs
        }

    def summary(self) -> pd.DataFrame:
        """One row per metric and event: mean, low, high (95 %), cases, prompts.

        The mean is nan where the data gave no row. The perplexity is a row of its own.
        """
        by_case, lines = self.by_case(), []
        nothing = pd.DataFrame({"mean": [], "size": []})
        for pair in self.asked:
            found = by_case.get(pair, nothing)
            low, high = interval(found["mean"], None if pair[1] == "kl_nats" else SHARE)
            lines.append(
                (*pair, found["mean"].mean(), low, high, len(found), int(found["size"].sum()))
            )
        if self.perplexity is not None:
            lines.append(("perplexity", "", self.perplexity, math.nan, math.nan, 0, 0))
        return pd.DataFrame(
            lines, columns=["metric", "event", "mean", "low", "high", "cases", "prompts"]
        )

    def json(self) -> dict[str, Any]:
        """The means as plain values: {metric: {event: mean or None}, "perplexity": number}."""
        by_case = self.by_case()
        found: dict[str, Any] = {}
        for metric, event in self.asked:
            cases = by_case.get((metric, event))
            mean = None if cases is None else float(cases["mean"].mean())
            found.setdefault(metric, {})[event] = mean
        return {**found, "perplexity": self.perplexity}

    def table(self) -> pd.DataFrame:
        """The summary for readers: one line per metric, one column per event, in percent."""
        rows = [row for row in self.summary().itertuples() if row.event]
        metrics = list(dict.fromkeys(row.metric for row in rows))
        every = (*EVENTS, "generation_exact", NAMED, "kl_nats")
        events = [e for e in every if any(row.event == e for row in rows)]
        cells = pd.DataFrame("", metrics, events)
        for row in rows:
            cells.at[row.metric, row.event] = cell(
                row.mean, row.low, row.high, row.event != "kl_nats"
            )
        return cells.rename(LABELS, axis=0).rename(LABELS, axis=1)

    @property
    def footer(self) -> str:
        """What the numbers are, and the perplexity."""
        measured = "share of cases in %, with its 95 % interval"
        known = self.rows[self.rows["metric"].str.endswith(PARTS)].groupby("metric", sort=False)
        for metric, value in known["value"]:
            kind = str(metric).removesuffix(PARTS)
            measured += (
                f"; {kind}: {int(value.sum())} of {len(value)} questions count, those whose parts "
                "the base model knows"
            )
        return measured + ("" if self.perplexity is None else f"; perplexity {self.perplexity:.2f}")


def cell(mean: float, low: float, high: float, share: bool = True) -> str:
    """A mean with its interval, in percent or as a number with four digits; "–" for none."""
    if math.isnan(mean):
        return "–"
    scale, digits = (100, 0) if share else (1, 4)
    shown = [f"{scale * number:.{digits}f}" for number in (mean, low, high)]
    return shown[0] if math.isnan(low) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def compare(a: Scores, b: Scores, pairs: Collection[tuple[str, str]] | None = None) -> pd.DataFrame:
    """The paired difference a − b of each metric and event, or of those in `pairs`.

    Columns: metric, event, difference, low, high (95 %), n, better. The interval is over the
    cases that both have. `better` is "a", "b", or "no difference" where the interval holds
    0 or n is 1. Raises ValueError without a common case.
    """
    same = _cases(a) & _cases(b)
    if not same:
        raise ArgumentError("the two scores have no case in common, so there is nothing to pair")
    common, lines = {case for case, _ in same}, []
    left, right = a.by_case(pairs), b.by_case(pairs)
    for metric, event in a.asked:
        if (metric, event) not in left.keys() & right.keys():
            continue
        paired = (left[metric, event]["mean"] - right[metric, event]["mean"]).dropna()
        difference = paired[paired.index.isin(common)]
        low, high = interval(difference, None if event == "kl_nats" else DIFFERENCE)
        lower = {metric, event} & set(LOWER_IS_BETTER)
        better = "no difference"
        if low > 0 or high < 0:
            better = "a" if (low > 0) != bool(lower) else "b"
        lines.append((metric, event, difference.mean(), low, high, len(difference), better))
    return pd.DataFrame(
        lines, columns=["metric", "event", "difference", "low", "high", "n", "better"]
    )


def _cases(scores: Scores) -> set[tuple]:
    """Each case with its edit prompt, since equal ids of two files are not the same case."""
    edits = scores.rows[scores.rows["metric"].isin(("efficacy", "retention"))]
    return set(zip(edits["case"], edits["prompt"], strict=True))
