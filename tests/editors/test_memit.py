"""MEMIT and its norm anchors: batches, kept keys, values of one norm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.editors.shared import value_norm
from lib.keys_values import value_search

from ..support import tiny
from ..support.spread import FACTS, SPREAD, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_a_batch_equals_the_same_batch_permuted(lm):
    editor = lib.EDITORS["memit"](lm, **SPREAD, strength=0.1)
    one, other = editor.edit(FACTS), editor.edit([FACTS[2], FACTS[0], FACTS[1]])
    for layer in (1, 2):
        torch.testing.assert_close(
            delta(lm, one, layer), delta(lm, other, layer), atol=1e-4, rtol=1e-3
        )


@pytest.mark.parametrize("limit", [1, 60, 10_000])
@pytest.mark.parametrize("split", [1, 10_000])
def test_groups_and_split_kl_rows_change_nothing(lm, monkeypatch, limit, split):
    settings = value_search.Search(v_lr=0.3, steps=6, kl_factor=0.5)
    wanted = [value_search.search(lm, [fact], 1, ("{}", "Well. {}"), settings)[0] for fact in FACTS]
    monkeypatch.setitem(value_search.POSITIONS, "cpu", limit)
    monkeypatch.setattr(value_search, "SPLIT", split)
    found = value_search.search(lm, FACTS, 1, ("{}", "Well. {}"), settings)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.v_star, other.v_star, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.keys, other.keys, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            torch.tensor(one.loss), torch.tensor(other.loss), atol=1e-4, rtol=1e-4
        )


@pytest.mark.slow
def test_kept_keys_hold_earlier_edits_and_the_memory_stays_bounded(lm):
    settings = {**SPREAD, "layers": (1,), "strength": 1e-3}
    K = {}
    for kept in (True, False):
        editor = lib.EDITORS["memit"](lm, **settings, keep_keys=kept)
        first = editor.edit(FACTS[:1])
        second = editor.edit(FACTS[1:], after=first)
        k = lm.keys(FACTS[:1], 1)[:, 0]  # below the edited layer nothing moves
        K[kept] = (delta(lm, second, 1, first) @ k).norm() / (delta(lm, first, 1) @ k).norm()
    assert K[True] < 0.05 < K[False]
    assert first.memory["memit"].keys() == {"templates"}  # keep_keys=False keeps none
    editor, patch = lib.EDITORS["memit"](lm, **settings, keep_keys=True), lib.EMPTY
    wanted = torch.zeros(48, 48)
    for i in range(40):  # 120 keys of 48 inputs: the factor is compressed on the way
        patch = editor.edit([replace(f, prompt=f.prompt + " " * i) for f in FACTS], after=patch)
        with lm.patched(patch):
            now = lm.keys(patch.facts[-3:], 1)
        wanted += now @ now.T
        if i == 10:
            break
    parts = patch.memory["memit"]["keys"]["1"]
    for _ in range(30):
        parts = lib.editors.shared.layerwise.with_keys(parts, now)
        wanted += now @ now.T
    Kp = torch.cat(parts, 1)
    assert Kp.shape[1] <= 2 * 48
    torch.testing.assert_close(Kp @ Kp.T, wanted, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1)])
def test_layers_must_ascend(lm, layers):
    with pytest.raises(lib.errors.EditError, match="ascend|one layer or more"):
        lib.EDITORS["memit"](lm, **{**SPREAD, "layers": layers}).edit(FACTS[:1])


def test_the_trimmed_mean():
    assert value_norm.trimmed_mean(range(1, 101)) == 48


def test_anchored_values_have_the_norm_and_keep_direction_or_are_skipped(lm):
    with lm.patched(lib.EMPTY):
        found = value_search.search(
            lm, FACTS, 2, ("{}",), value_search.Search(steps=8, clamp=5.0), "block"
        )
    norms = torch.tensor([(t.mlp + t.delta).norm() for t in found])
    rescaled, skipped = value_norm.anchored(found, norm := norms.max().item() / 1.5, 1.2)
    for now, t, long in zip(rescaled, found, norms > 1.2 * norm, strict=True):
        column = now.v_star
        v_star = column - (t.init - t.mlp)
        if long:
            torch.testing.assert_close(column, t.init, atol=1e-5, rtol=1e-5)  # nothing to write
        else:
            assert v_star.norm().item() == pytest.approx(norm, rel=1e-5)
            assert torch.cosine_similarity(v_star, t.mlp + t.delta, 0) > 1 - 1e-5
    assert skipped == int((norms > 1.2 * norm).sum()) >= 1
    assert value_norm.anchored(found, norm, None)[1] == 0


def test_the_anchor_comes_from_the_base_whatever_was_edited_before(lm, monkeypatch):
    editor = lib.EDITORS["norm_anchor"](lm, **SPREAD, anchor_n=3, anchor_skip=None, strength=1e-3)
    norms = []

    def anchored(found, norm, skip, real=value_norm.anchored):
        norms.append(norm)
        return real(found, norm, skip)

    monkeypatch.setattr(value_norm, "anchored", anchored)
    editor.edit(FACTS[1:], after=editor.edit(FACTS[:1]))
    assert norms[0] == norms[1] > 0
    with pytest.warns(
        lib.errors.EditWarning, match="1 of 1 values exceeded 1e-06 times the anchor"
    ):
        lib.EDITORS["norm_anchor"](lm, **SPREAD, anchor_n=3, anchor_skip=1e-6).edit(FACTS[:1])
