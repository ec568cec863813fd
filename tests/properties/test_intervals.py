"""Properties of the 95 % intervals."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation.intervals import bootstrap, interval, wilson

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_narrows(counts):
    hits, n = counts
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1 and low < high
    # of the complement it is the mirror image
    other = wilson(n - hits, n)
    assert math.isclose(low, 1 - other[1], abs_tol=1e-12)
    assert math.isclose(high, 1 - other[0], abs_tol=1e-12)
    four = wilson(4 * hits, 4 * n)
    assert four[1] - four[0] < high - low
    if hits < n:  # one hit more moves both ends up
        more = wilson(hits + 1, n)
        assert more[0] > low and more[1] >= high


@settings(max_examples=25)
@given(values, st.floats(-100, 100), st.floats(0.01, 100))
def test_a_bootstrap_lies_within_its_values_and_follows_them(given_values, shift, scale):
    low, high = bootstrap(given_values)
    slack = 1e-9 * (1 + max(map(abs, given_values)))
    assert min(given_values) - slack <= low <= high <= max(given_values) + slack
    assert bootstrap(given_values) == (low, high)  # the same in every call
    moved = bootstrap(scale * np.asarray(given_values) + shift)
    wanted = (scale * low + shift, scale * high + shift)
    size = 1e-9 * (1 + abs(shift) + scale * max(map(abs, given_values)))
    assert np.allclose(moved, wanted, rtol=1e-9, atol=size)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_shares_have_one_interval_in_any_order_that_holds_their_mean(shares):
    low, high = interval(shares)
    assert interval(shares[::-1]) == (low, high)
    assert 0 <= low <= np.mean(shares) + 1e-12 and np.mean(shares) - 1e-12 <= high <= 1
    assert low < high
