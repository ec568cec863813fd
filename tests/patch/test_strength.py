"""A patch with another strength: between, beyond and without the edit that it holds."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.patch.patch import LowRank

from ..support import tiny

FACTS = [lib.Fact("tower", "The {} leans to", "xy"), lib.Fact("river", "The {} runs to", "qz")]
SETTINGS = {
    "rome": {"layer": 1, "steps": 3, "templates": ("{}",), "tokens": 600},
    "ft": {"layer": 2, "epochs": 3},
}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.mark.parametrize("editor", SETTINGS)
def test_weights_lie_on_the_line_through_both_patches(lm, editor):
    made = lib.EDITORS[editor](lm, **SETTINGS[editor])
    first = made.edit(FACTS[:1])
    both = made.edit(FACTS[1:], after=first)
    for before, patch in ((lib.EMPTY, first), (first, both)):
        for strength in (0, 0.5, 2.0, -1):
            found = lib.patch.patch.scaled(lm, patch, strength, before)
            assert found.log == patch.log and found.weights.keys() == patch.weights.keys()
            for name in patch.weights:
                old, new = lm.weight(name, before), lm.weight(name, patch)
                wanted = old + strength * (new - old)
                torch.testing.assert_close(lm.weight(name, found), wanted, atol=1e-5, rtol=1e-4)
                kind = LowRank if editor == "rome" else torch.Tensor
                assert isinstance(found.weights[name], kind), "factors stay factors"
    assert lib.patch.patch.scaled(lm, both, 1, first) is both


def test_strength_zero_answers_as_before(lm):
    patch = lib.EDITORS["rome"](lm, **SETTINGS["rome"]).edit(FACTS[:1])
    with lm.patched(lib.patch.patch.scaled(lm, patch, 0.0)):
        none = lm.next_token(FACTS[0].text)
    assert torch.equal(none, lm.next_token(FACTS[0].text))


def test_a_memory_has_no_strength_and_wrong_numbers_are_refused(lm):
    patch = lib.EDITORS["retrieval"](lm).edit(FACTS[:1])
    with pytest.raises(lib.errors.PatchError, match="cannot be scaled"):
        lib.patch.patch.scaled(lm, patch, 0.5)
    weights = lib.EDITORS["ft"](lm, **SETTINGS["ft"]).edit(FACTS[:1])
    with pytest.raises(lib.errors.PatchError, match="was not made from the earlier one"):
        lib.patch.patch.scaled(lm, lib.EMPTY, 0.5, weights)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(lib.Error, match="strength should be"):
            lib.patch.patch.scaled(lm, weights, wrong)
