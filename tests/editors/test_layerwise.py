"""What the family around MEMIT promises beyond the conformance suite, method by method."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lib
from lib import associative_memory as memory
from lib.editors import prune, rect
from lib.editors.shared import value_norm, values_at_layers
from lib.keys_values import value_search
from lib.patch.patch import LowRank

from ..support import tiny

FACTS = [
    lib.Fact("The old tower", "I saw {}", "xy"),
    lib.Fact("A cat", "{} sat on the", "qz"),
    lib.Fact("Pisa", "The tower of {}", "xy"),
]
SPREAD = {"layers": (1, 2), "v_lr": 0.5, "steps": 12, "clamp": 20.0, "decay": 0.0, "kl_factor": 0.0,
          "tokens": 600, "templates": ("{}",)}  # fmt: skip


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def delta(lm, patch, layer, under=lib.EMPTY):
    name = lm.mlp_out(layer)
    return lm.weight(name, patch) - lm.weight(name, under)


def test_a_batch_equals_the_same_batch_permuted(lm):
    editor = lib.EDITORS["memit"](lm, **SPREAD, strength=0.1)
    one, other = editor.edit(FACTS), editor.edit([FACTS[2], FACTS[0], FACTS[1]])
    for layer in (1, 2):
        torch.testing.assert_close(
            delta(lm, one, layer), delta(lm, other, layer), atol=1e-4, rtol=1e-3
        )


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


def test_alphaedit_leaves_k0_within_what_its_threshold_implies(lm):
    editor = lib.EDITORS["alphaedit"](lm, **{**SPREAD, "layers": (1,)}, quantile=0.5, L2=1e-3)
    change, space = delta(lm, editor.edit(FACTS), 1).double(), editor.null_space(1)
    C = lib.second_moment(lm, [1], tokens=600, damping=0.0)[1].C
    damage = torch.trace(change @ C @ change.T)  # mean ‖Δ k‖² over the text that made C
    assert 0 < damage <= space.threshold * change.norm() ** 2 * (1 + 1e-6)
    P = space.Q @ space.Q.T
    torch.testing.assert_close(change @ P, change, atol=1e-5, rtol=1e-4)


def test_rome_writes_its_value_at_its_key_on_the_weights_as_they_are(lm):
    settings = {k: v for k, v in SPREAD.items() if k != "layers"} | {"steps": 4}
    for keys, held in (("prompt", [0]), ("mean", [1]), ("both", [0, 1]), ("mixed", [0])):
        editor = lib.EDITORS["rome"](
            lm, **{**settings, "templates": ("{}", "Well. {}")}, layer=1, keys=keys
        )
        first = editor.edit(FACTS[:1])
        _, found = editor.update(FACTS[1], first)
        W, before = (
            lm.weight(lm.mlp_out(1), patch) for patch in (editor.edit(FACTS[1:2], first), first)
        )
        bare, mean = found.keys[0], found.keys.mean(0)
        wanted = before @ bare + found.delta if keys == "prompt" else found.v_star
        for key in held:
            torch.testing.assert_close(W @ (bare, mean)[key], wanted, atol=1e-3, rtol=1e-3)


def test_alphaedit_keeps_keys_as_its_batch_leaves_them_and_solves_beside_them(lm):
    editor = lib.EDITORS["alphaedit"](lm, **SPREAD, quantile=0.9, L2=1e-3)
    patch = editor.edit(FACTS[:2])
    with lm.patched(patch):
        left = lm.keys(FACTS[:2], 2)
    assert not torch.allclose(left, lm.keys(FACTS[:2], 2), atol=1e-3)  # layer 1 is below it
    state = patch.memory["alphaedit"]
    torch.testing.assert_close(state["keys"]["2"][0], left, atol=1e-5, rtol=1e-5)
    K = lm.keys(FACTS[2:], 2).double()
    wanted = memory.reach_null(K, editor.null_space(2).Q, 1e-3, left.double())
    torch.testing.assert_close(editor.solve(2, K, state), wanted, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(editor.solve(2, K, {}), wanted, atol=1e-3)


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1)])
def test_layers_must_ascend(lm, layers):
    with pytest.raises(lib.errors.EditError, match="ascend|one layer or more"):
        lib.EDITORS["memit"](lm, **{**SPREAD, "layers": layers}).edit(FACTS[:1])


# ---- norm anchors -------------------------------------------------------------------------------


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
        lib.errors.EditWarning, match="1 of 1 values were over 1e-06 times the anchor"
    ):
        lib.EDITORS["norm_anchor"](lm, **SPREAD, anchor_n=3, anchor_skip=1e-6).edit(FACTS[:1])


# ---- around an inner editor ---------------------------------------------------------------------


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


def test_wrappers_take_an_editor_a_name_or_settings_and_can_be_made_again(lm):
    editor = lib.EDITORS["rect"](lm, inner=("memit", SPREAD))
    patch = editor.edit(FACTS[1:], after=editor.edit(FACTS[:1]))
    again = patch.without(0, lm)
    torch.testing.assert_close(
        delta(lm, again, 1), delta(lm, editor.edit(FACTS[1:]), 1), atol=0, rtol=0
    )
    assert lib.EDITORS["prune"](lm).wrapped.name == "memit"
    with pytest.raises(lib.errors.EditError, match="changes weights, which retrieval does not"):
        lib.EDITORS["rect"](lm, inner="retrieval")
    with pytest.raises(lib.errors.EditError, match="no editor 'nothing'"):
        lib.EDITORS["rect"](lm, inner="nothing")
    with pytest.raises(lib.errors.EditError, match="belongs to another model"):
        lib.EDITORS["rect"](tiny.model("gpt2"), inner=lib.EDITORS["memit"](lm))


# ---- WilKE --------------------------------------------------------------------------------------

ROME = {k: v for k, v in SPREAD.items() if k != "layers"}


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


# ---- PMET ---------------------------------------------------------------------------------------


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


# ---- the search in large batches ----------------------------------------------------------------


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
