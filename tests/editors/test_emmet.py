"""EMMET: with one fact it is ROME, and its last layer takes the whole rest."""

from __future__ import annotations

import pytest
import torch

import lib

from ..support import tiny
from ..support.spread import FACTS, SPREAD, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_emmet_with_one_fact_is_rome(lm):
    settings = {**SPREAD, "decay": 0.0, "clamp": 1e6}  # the two clamp against different states
    settings.pop("layers")
    emmet = lib.EDITORS["emmet"](lm, **settings, layers=(1,)).edit(FACTS[:1])
    rome = lib.EDITORS["rome"](lm, **settings, layer=1, keys="prompt").edit(FACTS[:1])
    torch.testing.assert_close(delta(lm, emmet, 1), delta(lm, rome, 1), atol=1e-4, rtol=1e-3)


def test_the_last_layer_takes_the_whole_rest(lm):
    """With λ → 0 and the bare prompt alone the state at the last layer is z afterwards."""
    editor = lib.EDITORS["emmet"](lm, **SPREAD)
    with lm.patched(lib.EMPTY):
        z = torch.stack([found.v_star for found in editor.values(FACTS, 2, ("{}",))], 1)
    patch = editor.edit(FACTS)
    with lm.patched(patch):
        _, h = editor.keys_and_states(FACTS, 2, ("{}",))
    torch.testing.assert_close(h, z, atol=1e-3, rtol=1e-3)
    assert all(delta(lm, patch, layer).norm() > 0 for layer in (1, 2))
