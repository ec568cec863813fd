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
DETECTED = {  # what so many streams detect with a power of 80 %, in halves of Student's interval
    2: 1.29,
    3: 1.31,
    4: 1.34,
    5: 1.35,
    6: 1.37,
    7: 1.38,
    8: 1.38,
    9: 1.39,
    10: 1.39,
}
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


def detects(gaps: Sequence[float]) -> float:
    """The smallest true mean that this many gaps would detect in 80 % of experiments.

    Detected means that Student's 95 % interval excludes 0. The gaps' own deviation stands for the
    true one; page 15 simulates the factor.
    """
    middle, low, _ = by_stream(gaps)
    return DETECTED[len(gaps)] * (middle - low)


def may_be_best(values: Mapping[str, Sequence[float]], level: float = 0.05) -> list[str]:
    """The names for which the data don't rule out that no other is better on average.

    values  {name: a mean per stream}, all of the same streams, at most 16

    A name stays unless its rivals' largest mean lead over it is larger than in all but `level` of
    the ways to flip the signs of whole streams. If a name is best, each rival that isn't behind it
    is as often ahead in a stream as behind, so flipping changes nothing. A rival that is behind on
    average counts as if it were level: otherwise, flipping a bad rival's leads would hide any lead.
    In simulations, a best name is left out in about `level` of all experiments; leaving out some of
    several equals is more frequent. Nothing is assumed about how much streams differ.
    """
    names, x = [*values], np.array([*values.values()], float)
    n = x.shape[1]
    signs = np.array([*product((1.0, -1.0), repeat=n)]).T  # the first: as they are
    kept = []
    for one, own in enumerate(x):
        leads = np.delete(x, one, 0) - own
        means = leads.mean(1, keepdims=True)
        # residuals of n streams have a variance (n − 1)/n too small
        level_with = (leads - means) * (n / max(n - 1, 1)) ** 0.5
        flipped = np.where(means < 0, level_with, leads) @ signs / n
        if np.mean(flipped.max(0, initial=0.0) >= means.max(initial=0.0) - 1e-9) > level:
            kept.append(names[one])
    return kept
