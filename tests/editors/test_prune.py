"""PRUNE: shrunk singular values, of factors as of the matrix."""

from __future__ import annotations

import math

import pytest
import torch

import lib
from lib.editors import prune
from lib.patch.patch import LowRank

from ..support import tiny
from ..support.spread import FACTS, SPREAD, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_prune_by_hand_and_never_a_larger_value():
    torch.testing.assert_close(
        prune.shrink(torch.diag(torch.tensor([math.e**2, 1.0])), 1.0, math.e),
        torch.diag(torch.tensor([3.0, 1.0])),
    )
    D = torch.randn(20, 30)
    s = torch.linalg.svdvals(D)
    for sigma in (0.2, 1.0, 3.0, 100.0):
        less = torch.linalg.svdvals(prune.shrink(D, sigma, math.e))
        assert (less <= s + 1e-4).all() and (less.diff() <= 1e-4).all()
    torch.testing.assert_close(prune.shrink(D, 100.0, math.e), D, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)])
def test_prune_decomposes_the_factors_of_a_change_as_it_would_the_matrix(shape):
    for rank in (1, 7, 40):
        change = LowRank(((torch.randn(shape[0], rank), torch.randn(rank, shape[1])),))
        D = change.dense()
        sigma = torch.linalg.matrix_norm(D, 2).item()
        for least in (sigma / 5, 2 * sigma):
            both = (prune.shrink(one, least, math.e) for one in (change, D))
            torch.testing.assert_close(*both, atol=1e-4, rtol=1e-4)
        U, s, Vh = torch.linalg.svd(D, full_matrices=False)
        less = torch.where(s > sigma / 5, torch.minimum(s, (5 * s / sigma).log() + sigma / 5), s)
        shrunk = prune.shrink(change, sigma / 5, math.e)
        torch.testing.assert_close(shrunk, (U * less) @ Vh, atol=1e-4, rtol=1e-4)


def test_prune_shrinks_the_total_once_and_goes_on_from_the_unpruned_weights(lm):
    inner = lib.EDITORS["memit"](lm, **SPREAD, strength=1e-4)
    editor = lib.EDITORS["prune"](lm, inner=inner)
    pruned = editor.edit(FACTS[1:], after=editor.edit(FACTS[:1]))
    plain = inner.edit(FACTS[1:], after=inner.edit(FACTS[:1]))
    for layer in (1, 2):
        sigma = torch.linalg.matrix_norm(lm.weight(lm.mlp_out(layer)), 2).item()
        wanted = prune.shrink(delta(lm, plain, layer), sigma, math.e)
        torch.testing.assert_close(delta(lm, pruned, layer), wanted, atol=1e-4, rtol=1e-3)
