"""RECT: which entries of an update stay."""

from __future__ import annotations

import torch

from lib.editors.rect import mask


def test_the_entries_of_the_largest_relative_change_stay():
    delta = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    W = torch.tensor([[1.0, 8.0], [-1.0, 8.0]])  # relative changes 1, 1/4, 3, 1/2
    assert mask(delta, W, 0.5).tolist() == [[1.0, 0.0], [3.0, 0.0]]
    assert mask(delta, W, 0.51).tolist() == [[1.0, 0.0], [3.0, 4.0]]  # the count is rounded up
    assert mask(delta, W, 1.0).tolist() == delta.tolist()


def test_a_share_of_nothing_keeps_nothing():
    assert mask(torch.ones(2, 2), torch.ones(2, 2), 0.0).tolist() == [[0.0, 0.0], [0.0, 0.0]]
