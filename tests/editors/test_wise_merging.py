"""Merging rules, by hand and by their laws."""

from __future__ import annotations

import pytest
import torch

from lib.editors.wise.merging import RULES, linear, sign, ties, trim

T1 = torch.tensor([4.0, -1.0, 0.5, 2.0])
T2 = torch.tensor([-2.0, -3.0, 1.0, 0.2])
T3 = torch.tensor([3.0, 2.0, -0.1, -5.0])
HAND = [T1, T2, T3]


def test_the_three_rules_by_hand():
    assert trim(T1, 0.5).tolist() == [4.0, 0.0, 0.0, 2.0]
    assert trim(T2, 0.5).tolist() == [-2.0, -3.0, 0.0, 0.0]
    torch.testing.assert_close(ties(HAND, density=0.5), torch.tensor([3.5, -3.0, 0.0, -5.0]))
    torch.testing.assert_close(sign(HAND), torch.tensor([3.5, -2.0, 0.75, -5.0]))
    torch.testing.assert_close(linear(HAND), (T1 + T2 + T3) / 3)
    torch.testing.assert_close(linear(HAND, (2.0, 1.0, 0.0)), 2 * T1 + T2)


@pytest.mark.parametrize("common", [0.1, 1.0, 7.0])
def test_a_common_weight_cancels_in_ties_and_sign(common):
    for rule in (ties, sign):
        torch.testing.assert_close(rule(HAND, [common] * 3, 0.5), rule(HAND, None, 0.5))
    torch.testing.assert_close(linear(HAND, [common] * 3), common * (T1 + T2 + T3))


def test_unequal_weights_decide_the_election_and_the_mean():
    a, b, c = torch.tensor([2.0, 2.0]), torch.tensor([-1.0, 4.0]), torch.tensor([-1.0, -9.0])
    # sums with (.6, .2, .2): .8 and .2 -> both +; entry 1: (1.2 + .8) / .8 = 2.5
    torch.testing.assert_close(ties([a, b, c], (0.6, 0.2, 0.2), 1.0), torch.tensor([2.0, 2.5]))
    torch.testing.assert_close(sign([a, b, c], (0.1, 0.45, 0.45)), torch.tensor([-1.0, -9.0]))


def test_disjoint_vectors_are_added_by_ties_and_halved_by_linear():
    torch.manual_seed(0)
    mask = torch.rand(40, 50) < 0.2
    a, b = torch.randn(40, 50) * mask, torch.randn(40, 50) * (torch.rand(40, 50) < 0.3) * ~mask
    torch.testing.assert_close(ties([a, b], density=0.53), a + b)
    torch.testing.assert_close(linear([a, b]), (a + b) / 2)
    assert not torch.allclose(ties([a, b], density=0.1), a + b)  # below the share, trim acts


def test_a_tie_of_opposite_signs_is_positive_and_zeros_stay():
    found = sign([torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])])
    assert found.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_one_vector_with_weight_one_comes_back(rule):
    torch.manual_seed(1)
    tau = torch.randn(7, 5)
    assert torch.equal(RULES[rule]([tau], (1.0,), 1.0), tau)
