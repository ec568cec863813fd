"""PMET: a search at two places, and roots in the place of shares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.keys_values import value_search

from ..support import tiny
from ..support.spread import FACTS, SPREAD


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_pmet_searches_two_places_and_gives_back_the_mlps(lm):
    free = value_search.Search(v_lr=0.3, steps=6, clamp=50.0, decay=0.0, kl_factor=0.0, enough=-1.0)
    (both,) = value_search.search(lm, FACTS[1:2], 2, ("{}",), free, "pmet")
    (one,) = value_search.search(lm, FACTS[1:2], 2, ("{}",), free, "mlp_out")
    torch.testing.assert_close(both.init, one.init, atol=1e-5, rtol=1e-5)
    assert both.loss[0][0] == pytest.approx(one.loss[0][0], rel=1e-5)
    assert not torch.allclose(both.delta, one.delta, atol=1e-3)  # the attention does a part
    relaxed = replace(free, v_lr=1.0, clamp=1e3, steps=100, relax=True)
    (early,) = value_search.search(lm, FACTS[:1], 2, ("{}",), relaxed, "pmet")
    assert len(early.loss) < 100  # the argmax is right and the KL term is 0 here


def test_the_residual_is_spread_by_roots(lm):
    editor = lib.EDITORS["pmet"](lm, **SPREAD)
    assert editor.residual(torch.tensor(4.0), 4) == 2 and editor.residual(torch.tensor(4.0), 1) == 4
    plain = lib.EDITORS["memit"](lm, **SPREAD)
    assert plain.residual(torch.tensor(4.0), 4) == 1
