"""Shares of right answers of every case, as stored runs keep them, and differences by stream."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

import lib

STUDENT = {
    2: 12.706,
    3: 4.303,
    4: 3.182,
    5: 2.776,
    6: 2.571,
    7: 2.447,
    8: 2.365,
    9: 2.306,
    10: 2.262,
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


def may_be_best(values: Mapping[str, Sequence[float]], level: float = 0.05) -> list[str]:
    """The names of which the data do not rule out that no other is better on average.

    values  {name: a mean per stream}, all of the same streams, at most 16

    A name stays unless its rivals' largest mean lead over it is larger than in all but `level` of
    the ways to flip the signs of whole streams. If nobody were better, leads would be as likely
    behind as ahead in each stream, and a flip would change nothing. So each name that is best is
    left out in at most about `level` of all experiments, however many rivals there are; that one of
    several equals is left out is more frequent. Nothing is assumed of how much streams differ.
    """
    names, x = [*values], np.array([*values.values()], float)
    signs = np.array([*product((1.0, -1.0), repeat=x.shape[1])]).T  # the first: as they are
    kept = []
    for one, own in enumerate(x):
        leads = (np.delete(x, one, 0) - own) @ signs / len(signs)
        largest = leads.max(0, initial=-np.inf)
        if np.mean(largest >= largest[0] - 1e-9) > level:
            kept.append(names[one])
    return kept
