"""What notebook 08 quotes, and the tables of notebook 09, say what their rows hold."""

from __future__ import annotations

import pytest
import torch

from notebooks.support import checks_09_learning_to_edit as checks_09
from notebooks.support import published_08_wilke as paper
from notebooks.support import sixty_09_learning_to_edit as sixty


@pytest.mark.parametrize("edits", paper.PUBLISHED)
def test_the_published_s_is_the_harmonic_mean_of_the_published_shares(edits):
    for *shares, s in paper.PUBLISHED[edits].values():
        names = paper.COLUMNS[:5]
        found = paper.harmonic({name: x / 100 for name, x in zip(names, shares, strict=True)})
        assert abs(100 * found - s) < 1.1, (shares, s)  # theirs is a mean over three runs


def test_a_share_of_nothing_counts_as_a_ten_thousandth():
    assert paper.harmonic({"es": 1.0, "ors": 0.0}) == pytest.approx(2 / (1 + 1e4))


def test_a_paired_difference_of_sixty_facts_has_its_interval():
    one = dict.fromkeys(sixty.MEASURED, [1.0] * 20)
    other = dict.fromkeys(sixty.MEASURED, [0.0] * 10 + [1.0] * 10)
    said = sixty.paired(one, other)["written"]
    assert said.startswith("+50 points (95 %: +2") and said.endswith("+69)")


def test_the_folded_solution_of_09_is_right():
    def by_ridge(G, K, V, log_ridge):
        ridge = log_ridge.exp()
        M = K @ K.T + ridge * torch.eye(len(K), dtype=K.dtype)
        inverse = torch.linalg.inv(M)
        by_V = G @ inverse @ K
        return by_V, -ridge * (G * (V @ K.T @ inverse @ inverse)).sum()

    assert checks_09.by_ridge(by_ridge).startswith("solved")
