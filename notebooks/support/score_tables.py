"""Shares of right answers: of every case as stored runs keep them, and in percent for tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import lib
from lib.evaluation.intervals import DIFFERENCE, interval

METRICS = {
    "efficacy": "the edit's own prompt",
    "generalization": "rewordings",
    "specificity": "neighbors",
}
STUDENT = {3: 4.303, 4: 3.182, 5: 2.776}  # Student's factor for a mean of so many streams
MEASURED = {  # as the columns of stored runs and tables are called
    "held": "efficacy",
    "reworded": "generalization",
    "neighbors": "specificity",
    "unrelated": "locality",
}


def by_case(
    scores: lib.Scores, columns: Mapping[str, str] = MEASURED, event: str = "generation"
) -> dict[str, list[float]]:
    """{column: one share per case, in the order of the cases}, for the metrics that were asked."""
    found = scores.by_case()
    return {
        name: [round(float(share), 4) for share in found[metric, event]["mean"]]
        for name, metric in columns.items()
        if (metric, event) in found
    }


def percent(shares: Iterable[float | None]) -> str:
    """The mean of one share per case in percent, and its 95 % interval: "83 [60, 94]".

    Missing values (None, NaN) are left out, and a dash says that there are no others.
    """
    found = [share for share in shares if share is not None and share == share]
    if not found:
        return "–"
    low, high = interval(found)
    return f"{100 * sum(found) / len(found):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def gap(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """The mean difference in points, case by case, and the ends of its 95 % interval."""
    found = [a - b for a, b in zip(one, other, strict=True)]
    return tuple(100 * x for x in (sum(found) / len(found), *interval(found, DIFFERENCE)))


def by_stream(gaps: Sequence[float]) -> tuple[float, float, float]:
    """The mean of one difference per stream, and the ends of Student's 95 % interval."""
    n, middle = len(gaps), statistics.mean(gaps)
    half = STUDENT[n] * statistics.stdev(gaps) / n**0.5
    return middle, middle - half, middle + half
