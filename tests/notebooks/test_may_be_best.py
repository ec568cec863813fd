"""Who may be the best of many: flips of whole streams, by hand and by experiment."""

from __future__ import annotations

import numpy as np
import pytest

from notebooks.support.score_tables import may_be_best


def test_by_hand():
    # three streams have eight flips, so that nothing is ruled out at 5 %
    assert may_be_best({"a": (0.9, 0.9, 0.9), "b": (0.1, 0.1, 0.1)}) == ["a", "b"]
    five = {"a": [0.9] * 5, "b": [0.1] * 5, "c": [0.9, 0.9, 0.9, 0.9, 0.8]}
    assert may_be_best(five) == ["a", "c"]  # 1 flip of 32 leads as far
    assert may_be_best({"a": [0.5] * 6, "b": [0.5] * 6}) == ["a", "b"]  # ties are ties
    assert may_be_best({"alone": [0.2, 0.4]}) == ["alone"]


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
