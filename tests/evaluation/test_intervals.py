"""The intervals: by hand, their order, and how often they hold the true mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lib.evaluation.intervals import DIFFERENCE, SHARE, bootstrap, interval, wilson


def test_wilson_by_hand():
    # 3 of 4, z = 1.959964: center (0.75 + 3.8415/8) / 1.9604 = 0.6275, half width 0.3269
    assert wilson(3, 4) == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1) and 0.7 < wilson(10, 10)[0] < 0.73
    assert wilson(0, 10)[0] == 0
    assert np.isnan(wilson(0, 0)).all()


def test_bootstrap():
    values = np.random.default_rng(3).random(200)
    low, high = bootstrap(values)
    error = values.std() / np.sqrt(200)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert bootstrap(values) == (low, high)
    assert np.isnan(bootstrap([0.5])).all()


def jeffreys(hits: int, n: int) -> tuple[float, float]:
    """The middle 95 % of the Beta distribution with hits + ½ and misses + ½, by its density."""
    x = np.linspace(0, 1, 200_001)[1:-1]
    log = (hits - 0.5) * np.log(x) + (n - hits - 0.5) * np.log1p(-x)
    below = np.cumsum(np.exp(log - log.max()))
    return tuple(x[np.searchsorted(below, q * below[-1])] for q in (0.025, 0.975))


@pytest.mark.parametrize(("hits", "n"), [(3, 4), (12, 24), (20, 24), (90, 100)])
def test_of_right_and_wrong_it_is_the_interval_of_jeffreys(hits, n):
    assert interval([1] * hits + [0] * (n - hits)) == pytest.approx(jeffreys(hits, n), abs=0.012)


def test_what_it_is_given_and_what_it_says():
    assert np.isnan(interval([])).all()
    assert interval([0, 0, 0], ends=None) == (0, 0)
    assert interval([0.25, 0.5], ends=None) == bootstrap([0.25, 0.5])
    low, high = interval([0.5])  # one case says little
    assert low < 0.2 and high > 0.8
    assert interval([1, 0, 0.5]) == interval([0, 0.5, 1])
    for wrong, ends in (([1.2], SHARE), ([-0.1], SHARE), ([1.2], DIFFERENCE), ([np.nan], SHARE)):
        with pytest.raises(ValueError, match="outside"):
            interval(wrong, ends)


def test_a_worse_score_is_never_surer():
    """Lowering any value lowers both ends; 98 % of 24 cases lies below 100 % of them."""
    everything = interval([1] * 24)
    almost = interval([1] * 23 + [0.5])
    assert almost[0] < everything[0] and almost[1] <= everything[1]
    draw = np.random.default_rng(5)
    for _ in range(200):
        n = int(draw.integers(1, 40))
        better = draw.choice([0, 1 / 3, 0.5, 2 / 3, 1], n)
        worse = better * draw.choice([1, 1, 1, 0.5, 0], n)
        for a, b in zip(interval(worse), interval(better), strict=True):
            assert a <= b


# ---- coverage: how often the interval holds the mean that the values were drawn from -----------


def cases(draw: np.random.Generator, p: float, n: int, prompts: int, alike: float) -> np.ndarray:
    """n case means of `prompts` prompts; the share of each case is drawn from a Beta around p."""
    if prompts == 1:
        return (draw.random(n) < p).astype(float)
    around = (1 - alike) / alike
    return draw.binomial(prompts, draw.beta(p * around, (1 - p) * around, n)) / prompts


def held(find: Callable, settings: list[tuple], make: Callable, trials: int = 150) -> np.ndarray:
    """Share of trials, per setting, in which the interval holds the true mean."""
    draw, found = np.random.default_rng(6), []
    for truth, setting in settings:
        ends = [find(make(draw, *setting)) for _ in range(trials)]
        found.append(
            np.mean([low <= truth + 1e-12 and truth - 1e-12 <= high for low, high in ends])
        )
    return np.array(found)


def wilson_or_bootstrap(values: np.ndarray) -> tuple[float, float]:
    """What this library did before: Wilson where all are 0 or 1, and the bootstrap elsewhere."""
    return wilson(int(values.sum()), len(values)) if set(values) <= {0, 1} else bootstrap(values)


def test_coverage_of_shares():
    """The reason for the choice: 95 % on average, where the other falls to 85 % and below."""
    settings = [
        (p, (p, n, prompts, alike))
        for prompts, alike in ((1, 1.0), (10, 0.5))
        for n in (12, 24)
        for p in (0.05, 0.2, 0.5, 0.9, 0.95)
    ]
    ours, before = held(interval, settings, cases), held(wilson_or_bootstrap, settings, cases)
    assert 0.935 < ours.mean() < 0.985 and ours.min() > 0.86
    assert before.min() < 0.86 and before.mean() < ours.mean()
