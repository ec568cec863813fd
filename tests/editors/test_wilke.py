"""WilKE: the layer that fits, searched together with all others."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.editors.shared import values_at_layers
from lib.keys_values import value_search
from lib.patch.patch import LowRank

from ..support import tiny
from ..support.spread import FACTS, ROME, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_wilke_takes_the_layer_with_the_smallest_relative_update(lm):
    editor = lib.EDITORS["wilke"](lm, **ROME, layers=(0, 1, 2))
    matches = editor.matches(FACTS[0])
    for match in matches:
        a, b = match.update
        W = lm.weight(lm.mlp_out(match.layer))
        assert match.score == pytest.approx(((a @ b).norm() / W.norm()).item(), rel=1e-3)
    best = min(matches, key=lambda match: match.score)
    patch = editor.edit(FACTS[:1])
    assert list(patch.weights) == [lm.mlp_out(best.layer)]
    assert patch.memory["wilke"]["layers"] == (best.layer,)


def test_wilke_with_one_layer_is_rome(lm):
    wilke = lib.EDITORS["wilke"](lm, **ROME, ceiling=1, keys="mixed").edit(FACTS[:2])
    rome = lib.EDITORS["rome"](lm, **ROME, layer=0, keys="mixed").edit(FACTS[:2])
    one, other = (p.weights[lm.mlp_out(0)] for p in (wilke, rome))
    assert isinstance(one, LowRank) == isinstance(other, LowRank)
    torch.testing.assert_close(delta(lm, wilke, 0), delta(lm, rome, 0), atol=0, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma3_text"])
@pytest.mark.parametrize("fact", [FACTS[1], FACTS[2]])  # the first prompt begins with its subject
def test_layers_climb_together_as_one_by_one(family, fact):
    # not the last layer: there δ at the subject reaches no answer, and its gradient is rounding
    lm, layers, templates = tiny.model(family), (0, 1, 2), ("{}", "Well. {}")
    settings = value_search.Search(
        v_lr=0.3, steps=9, clamp=20.0, enough=2.0
    )  # some end before others
    with lm.patched(lib.EMPTY):
        together = values_at_layers.search_layers(lm, fact, layers, templates, settings)
        for layer, found in zip(layers, together, strict=True):
            (alone,) = value_search.search(lm, [fact], layer, templates, settings)
            assert len(alone.loss) == len(found.loss)
            torch.testing.assert_close(found.v_star, alone.v_star, atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(found.keys, alone.keys, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                torch.tensor(found.loss), torch.tensor(alone.loss), atol=1e-4, rtol=1e-3
            )
