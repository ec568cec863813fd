"""95 % intervals of a mean over cases.

Where every case gives 0 or 1 the interval is Wilson's, otherwise it is a bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

Z = 1.959964  # two-sided 95 % of the normal distribution
RESAMPLES = 2000
CHUNK = 4_000_000  # resampled values held at once


def interval(values: ArrayLike, share: bool = True) -> tuple[float, float]:
    """The 95 % interval of a mean over cases, one value per case.

    Without a value, and for a single case that is neither 0 nor 1, it is (nan, nan).

    share  The values are shares, so Wilson's interval is taken where all of them are 0 or 1.

    interval([1, 1, 1, 0]) -> (0.30, 0.95)
    """
    given = np.asarray(values, dtype=float)
    if share and np.isin(given, (0.0, 1.0)).all():
        return wilson(int(given.sum()), len(given))
    return bootstrap(given)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share.

    It lies inside [0, 1] and keeps an honest width at 0 and at n hits, where the usual interval of
    a normal distribution would have none.
    """
    if n == 0:
        return float("nan"), float("nan")
    share, z2 = hits / n, Z * Z
    # (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    center = share + z2 / (2 * n)
    half = Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (center - half) / (1 + z2 / n), (center + half) / (1 + z2 / n)
    # rounding may put an end on the wrong side of the share itself, at n of n hits
    return max(0.0, min(share, float(low))), min(1.0, max(share, float(high)))


def bootstrap(values: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of 2,000 means over resampled values; (nan, nan) for fewer than 2."""
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
