"""Shares of right answers of every case, as stored runs keep them, and differences by stream."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import lib

STUDENT = {
    2: 12.706,
    3: 4.303,
    4: 3.182,
    5: 2.776,
    6: 2.571,
}  # Student's factor for a mean of so many streams
MEASURED = {  # as the columns of stored runs and tables are called: shares of prompts
    "held": "efficacy",  # whose answer begins with the new one
    "reworded": "generalization",  # the same
    "neighbors": "specificity",  # whose answer still begins with the true one
    "unrelated": "locality",  # whose first sentence, up to eight tokens, is the base model's own
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


def by_stream(gaps: Sequence[float]) -> tuple[float, float, float]:
    """The mean of one difference per stream, and the ends of Student's 95 % interval."""
    n, middle = len(gaps), statistics.mean(gaps)
    half = STUDENT[n] * statistics.stdev(gaps) / n**0.5
    return middle, middle - half, middle + half
