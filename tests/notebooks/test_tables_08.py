"""What notebook 08 quotes says what its rows hold."""

from __future__ import annotations

import pytest

from notebooks.support import published_08_wilke as paper


@pytest.mark.parametrize("edits", paper.PUBLISHED)
def test_the_published_s_is_the_harmonic_mean_of_the_published_shares(edits):
    for *shares, s in paper.PUBLISHED[edits].values():
        names = paper.COLUMNS[:5]
        found = paper.harmonic({name: x / 100 for name, x in zip(names, shares, strict=True)})
        assert abs(100 * found - s) < 1.1, (shares, s)  # theirs is a mean over three runs


def test_a_share_of_nothing_counts_as_a_ten_thousandth():
    assert paper.harmonic({"es": 1.0, "ors": 0.0}) == pytest.approx(2 / (1 + 1e4))
