"""Who may be the best of many, and which difference is detected: by hand and by experiment."""

from __future__ import annotations

import numpy as np
import pytest

from notebooks.support.score_tables import DETECTED, STUDENT, detects, may_be_best


def test_by_hand():
    # three streams have eight flips, so that nothing is ruled out at 5 %
    assert may_be_best({"a": (0.9, 0.9, 0.9), "b": (0.1, 0.1, 0.1)}) == ["a", "b"]
    five = {"a": [0.9] * 5, "b": [0.1] * 5, "c": [0.9, 0.9, 0.9, 0.9, 0.8]}
    assert may_be_best(five) == ["a", "c"]  # 1 flip of 32 leads as far
    assert may_be_best({"a": [0.5] * 6, "b": [0.5] * 6}) == ["a", "b"]  # ties are ties
    assert may_be_best({"alone": [0.2, 0.4]}) == ["alone"]


def test_a_bad_rival_hides_no_lead():
    draw = np.random.default_rng(1)
    x = {name: mean + draw.normal(0, 0.02, 8) for name, mean in (("a", 0.9), ("b", 0.7))}
    assert may_be_best(x) == may_be_best(x | {"bad": draw.normal(0.0, 0.02, 8)}) == ["a"]


@pytest.mark.parametrize(("lead", "kept"), [(0.0, (0.9, 1.0)), (0.4, (0.0, 0.1))])
def test_equals_stay_and_a_large_lead_shows(lead, kept):
    draw, rivals = np.random.default_rng(0), []
    for _ in range(30):
        hard = draw.normal(0, 0.1, 8)
        x = 0.5 + hard + draw.normal(0, 0.15, (10, 8))
        x[0] += lead
        found = may_be_best({str(i): one for i, one in enumerate(x)})
        assert lead == 0.0 or "0" in found
        rivals.append(len([name for name in found if name != "0"]) / 9)
    assert kept[0] <= np.mean(rivals) <= kept[1]


@pytest.mark.parametrize("n", DETECTED)
def test_four_of_five_experiments_detect_the_smallest_difference(n):
    x = np.random.default_rng(n).standard_normal((40_000, n))  # σ = 1
    half = STUDENT[n] / n**0.5
    found = np.abs(x.mean(1) + DETECTED[n] * half) > half * x.std(1, ddof=1)
    assert abs(found.mean() - 0.8) < 0.012


def test_what_three_streams_detect_by_hand():
    # s = 1, so half of the interval is 4.303 / √3
    assert detects([1.0, 2.0, 3.0]) == pytest.approx(1.31 * 4.303 / 3**0.5)
