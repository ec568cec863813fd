"""95% intervals of a mean over cases.

Values with known ends, such as proportions (0 to 1) and their differences (`scores.compare`; −1 to
1), get the interval of a Bayesian bootstrap adding half a case at either end. If every value is
0 or 1, this is the Jeffreys interval. It has three properties that are useful in a table. It has a
nonzero width when all cases agree; it is narrow when each case is a mean of many prompts; and
neither of its ends moves up when a value goes down, so 98% never looks more certain than 100%. Its
coverage is compared with the Wilson interval's and the plain bootstrap's in
tests/evaluation/test_intervals.py.

Values without ends, such as divergences in nats, get a plain bootstrap.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ArgumentError

Z = 1.959964  # two-sided 95% of the normal distribution
RESAMPLES = 2000
DRAWS = 4000  # of the Bayesian bootstrap: its ends then vary by half a point between seeds
CHUNK = 4_000_000  # resampled values held at once
SHARE = (0.0, 1.0)
DIFFERENCE = (-1.0, 1.0)


def interval(
    values: ArrayLike, ends: tuple[float, float] | None = SHARE, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of a mean, using one value per case; (nan, nan) without a value.

    ends  The smallest and the largest value that a case can have: SHARE, or DIFFERENCE for paired
          differences of proportions. None if there are none, giving a plain bootstrap.

    interval([1, 1, 1, 0]) -> (0.29, 0.97)

    Source: D. B. Rubin, "The Bayesian bootstrap" (1981), with a Dirichlet prior of weight ½ at each
    end. Raises ValueError if a value is beyond the ends.
    """
    given = np.sort(np.asarray(values, dtype=float))
    if ends is None:
        return bootstrap(given, seed)
    if len(given) == 0:
        return float("nan"), float("nan")
    low, high = ends
    if not (low - 1e-9 <= given[0] and given[-1] <= high + 1e-9):  # nan is sorted to the end
        raise ArgumentError(f"A value is outside {low:g} to {high:g}.")
    # Sorted values under the same weights: a mean cannot grow when a value shrinks.
    means = np.concatenate(
        [part @ np.concatenate([[low, high], given]) for part in _weights(len(given), seed)]
    )
    first, last = np.percentile(means, (2.5, 97.5))
    mean = given.mean()  # with 0 of n, the middle 95% would leave out 0 itself
    return float(min(first, mean)), float(max(last, mean))


class Estimate(NamedTuple):
    """A mean over n cases with its 95% interval; nan for all three if there are no cases."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Any, ends: tuple[float, float] | None = SHARE) -> Estimate:
        """Return the estimate from one value per case, in an array or Series; see `interval`."""
        mean = values.mean() if len(values) else math.nan
        return cls(mean, *interval(values, ends), len(values))

    def cell(self, share: bool = True) -> str:
        """Return the mean with its interval, in percent or with four digits; "–" for none."""
        if math.isnan(self.mean):
            return "–"
        scale, digits = (100, 0) if share else (1, 4)
        shown = [f"{scale * number:.{digits}f}" for number in self[:3]]
        return shown[0] if math.isnan(self.low) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


@lru_cache(maxsize=8)
def _weights(n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return Dirichlet weights (draws, 2 + n), in parts by size: ½ per end and 1 per case."""
    draw, alpha = np.random.default_rng(seed), np.r_[0.5, 0.5, np.ones(n)]
    size = max(1, CHUNK // (n + 2))
    rows = [min(size, DRAWS - start) for start in range(0, DRAWS, size)]
    gammas = (draw.standard_gamma(alpha, (count, n + 2)) for count in rows)
    return tuple(gamma / gamma.sum(1, keepdims=True) for gamma in gammas)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, using a formula that can be solved for n.

    It is inside [0, 1] and keeps an honest width at 0 and at n hits, where the usual interval of a
    normal distribution would have none. It requires cases that are right or wrong, with nothing in
    between.
    """
    if n == 0:
        return float("nan"), float("nan")
    share, z2 = hits / n, Z * Z
    # (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    center = share + z2 / (2 * n)
    half = Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (center - half) / (1 + z2 / n), (center + half) / (1 + z2 / n)
    # rounding may put an end on the wrong side of the proportion itself, at n of n hits
    return max(0.0, min(share, float(low))), min(1.0, max(share, float(high)))


def bootstrap(values: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """Return the middle 95% of 2,000 means over resampled values; (nan, nan) for fewer than 2."""
    given = np.asarray(values, dtype=float)
    n = len(given)
    if n < 2:
        return float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    size = max(1, CHUNK // n)
    sizes = [min(size, RESAMPLES - start) for start in range(0, RESAMPLES, size)]
    means = [given[draw.integers(0, n, (rows, n))].mean(1) for rows in sizes]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
