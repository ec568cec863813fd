"""Anchors: the rule by hand, what a fit moves and what it leaves, and MEMoE's router."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.editors.lemoe import routers
from lib.editors.lemoe.routers import AnchorFit, AnchorRouter, HiddenStateRouter

KAPPA = 16.0


def router(**more) -> AnchorRouter:
    made = routers.start(torch.zeros(12), torch.tensor(1.0), 16, 8, KAPPA, 0.5 * KAPPA, 0)
    return replace(made, **more)


def points(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_anchor_wins_and_far_from_all_nobody(monkeypatch):
    made = router(keys=torch.eye(2), bias=torch.tensor(0.5 * KAPPA))
    v = torch.tensor([[0.8, 0.6], [-0.6, -0.8], [0.6, 0.8], [0.5**0.5, 0.5**0.5]])
    monkeypatch.setattr(AnchorRouter, "values", lambda *_: v)
    scores = made.scores(torch.zeros(4, 12))
    assert scores[0].tolist() == pytest.approx([8.0, 12.8, 9.6])
    assert made.choose(torch.zeros(4, 12)).tolist() == [0, -1, 1, 0]  # a tie: the smaller index
    without = replace(made, bias=None)
    assert without.choose(torch.zeros(4, 12)).tolist() == [0, 0, 1, 0]


def test_pooling_centers_and_scales():
    made = router(mu=torch.ones(12), sigma=torch.tensor(2.0))
    assert torch.equal(made.pooled(torch.full((1, 12), 5.0)), torch.full((1, 12), 2.0))


def test_a_fit_finds_everyone_and_leaves_older_keys():
    made, e, owner = router(), points(0, 0), torch.zeros(0, dtype=torch.long)
    calm = points(40, 9) - 1
    for t in range(3):
        fresh = 0.3 * points(5, t) + 3 * torch.eye(12)[t]
        e, owner = torch.cat([e, fresh]), torch.cat([owner, torch.full((5,), t)])
        grown = routers.grow(made, fresh)
        unit = grown.values(fresh).mean(0)
        torch.testing.assert_close(grown.keys[t], unit / unit.norm())
        fitted = routers.fit_anchors(grown, e, owner, calm, t, AnchorFit(steps=60, lr=3e-3))
        assert torch.equal(fitted.keys[:t], made.keys)
        assert fitted.keys.norm(dim=1).tolist() == pytest.approx([1.0] * (t + 1))
        made = fitted
        assert made.misrouted(e, owner) == 0
        assert (made.choose(calm) < 0).float().mean() > 0.9
    again = routers.fit_anchors(grown, e, owner, calm, 2, AnchorFit(steps=60, lr=3e-3))
    assert all(torch.equal(t, again.tensors()[name]) for name, t in made.tensors().items())


def test_the_reserve_raises_the_null_anchor_and_nothing_else():
    made = routers.grow(router(), points(4, 0))
    args = made, points(4, 0), torch.zeros(4, dtype=torch.long), points(9, 1), 0
    plain, more = (routers.fit_anchors(*args, AnchorFit(steps=20, reserve=r)) for r in (0.0, 2.0))
    first = plain.bias.item()
    assert more.bias.item() == pytest.approx(first + 2, abs=2)
    assert more.bias > plain.bias


def test_memoe_reads_hidden_states_and_the_longest_known_subject():
    made = HiddenStateRouter(torch.ones(3), torch.tensor(2.0), torch.zeros(0, 5), torch.zeros(0, 2))
    made = made.know([(7,), (8,)], torch.tensor([1.0, 2.0])).know(
        [(7, 9)], torch.tensor([3.0, 4.0])
    )
    rows = [[1, 7, 2], [7, 9], [8], [9, 7], [5]]
    assert made.subjects(rows).tolist() == [[1, 2], [3, 4], [1, 2], [1, 2], [0, 0]]
    assert made.features(torch.full((1, 3), 5.0), [[8]]).tolist() == [[2, 2, 2, 1, 2]]
    grown = made.grow(2, seed=0)
    assert grown.weight.shape == (2, 5) and torch.equal(grown.grow(1, 1).weight[:2], grown.weight)
    scores = grown.scores(torch.ones(4, 5))
    assert scores.shape == (4, 3) and scores[:, 0].tolist() == [-torch.inf] * 4  # nobody: no row
