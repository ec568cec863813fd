"""RECT, and what both editors around another one take."""

from __future__ import annotations

import math

import pytest
import torch

import lib
from lib.editors import rect

from ..support import tiny
from ..support.spread import FACTS, SPREAD, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_rect_keeps_exactly_its_share_and_everything_at_one(lm):
    D, W = torch.randn(30, 40), torch.randn(30, 40)
    kept = rect.mask(D, W, 0.4)
    assert (kept != 0).sum() == math.ceil(0.4 * 1200)
    least = (D / W).abs()[kept != 0].min()
    assert least >= (D / W).abs()[kept == 0].max()
    assert torch.equal(rect.mask(D, W, 1.0), D)
    inner = lib.EDITORS["memit"](lm, **SPREAD)
    whole = lib.EDITORS["rect"](lm, inner=inner, keep=1.0).edit(FACTS)
    torch.testing.assert_close(
        delta(lm, whole, 1), delta(lm, inner.edit(FACTS), 1), atol=1e-5, rtol=1e-4
    )


def test_wrappers_take_an_editor_a_name_or_settings_and_can_be_made_again(lm):
    editor = lib.EDITORS["rect"](lm, inner=("memit", SPREAD))
    patch = editor.edit(FACTS[1:], after=editor.edit(FACTS[:1]))
    again = patch.without(0, lm)
    torch.testing.assert_close(
        delta(lm, again, 1), delta(lm, editor.edit(FACTS[1:]), 1), atol=0, rtol=0
    )
    assert lib.EDITORS["prune"](lm).wrapped.name == "memit"
    with pytest.raises(lib.errors.EditError, match="changes weights, but retrieval does not"):
        lib.EDITORS["rect"](lm, inner="retrieval")
    with pytest.raises(lib.errors.EditError, match="no editor 'nothing'"):
        lib.EDITORS["rect"](lm, inner="nothing")
    with pytest.raises(lib.errors.EditError, match="belongs to another model"):
        lib.EDITORS["rect"](tiny.model("gpt2"), inner=lib.EDITORS["memit"](lm))
