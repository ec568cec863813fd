"""Keys, features and neighbors of an entity: each number by its slow definition, and its null."""

from __future__ import annotations

import math

import pytest
import torch

import lib
from lib.data.relations import relations
from lib.interpret.entity_features import (
    TOP,
    explained,
    features,
    lift,
    measured,
    without_features,
)
from lib.interpret.entity_inside import Inside, inside
from lib.interpret.entity_keys import (
    CONTEXTS,
    keys_and_neighbors,
    layers_to_see,
    other_entities,
    read_keys,
)

from ..forensics.conftest import rank_one
from ..support import tiny

ENTITY, LAYER = "Rome", 1
KNOWN = relations()


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def lm(request):
    return tiny.model(request.param)


def test_contributions_of_all_features_are_the_output(lm):
    W, K = lm.weight(lm.mlp_out(LAYER)), read_keys(lm, [ENTITY], CONTEXTS, [LAYER], lib.EMPTY)
    k = K[LAYER][0, 0]
    assert torch.allclose((W * k).sum(1), W @ k, rtol=1e-5, atol=1e-5)
    assert explained(W, k, torch.arange(len(k))) == pytest.approx(1, abs=1e-5)
    assert explained(W, torch.zeros_like(k), torch.arange(2)) == 0


def test_zeroing_all_features_removes_the_mlp(lm):
    W = lm.weight(lm.mlp_out(LAYER))
    gone = without_features(lm, LAYER, range(W.shape[1]))
    assert lm.weight(lm.mlp_out(LAYER), gone).abs().max() < 1e-6
    one = without_features(lm, LAYER, [5])
    left = lm.weight(lm.mlp_out(LAYER), one)
    assert left[:, 5].abs().max() < 1e-6 and torch.equal(left[:, :5], W[:, :5])


def test_a_key_has_its_length_and_overlaps_by_definition(lm):
    keys, near = keys_and_neighbors(lm, ENTITY, layers=[LAYER])
    others = other_entities(ENTITY, 200)
    assert ENTITY not in others and len(others) == len(set(others)) == keys[0].others == 200
    found = read_keys(lm, [ENTITY, keys[0].lands[0][0]], CONTEXTS[:1], [LAYER], lib.EMPTY)
    k, j = found[LAYER][:, 0].double()
    C = lib.second_moment(lm, [LAYER])[LAYER].C.double()
    u = torch.linalg.solve(C, k)
    q = (k @ u).item()
    assert keys[0].length == pytest.approx(k.norm().item(), rel=1e-4)
    assert keys[0].q == pytest.approx(q, rel=1e-3)
    assert keys[0].lands[0][1] == pytest.approx((u @ j).item() / q, rel=1e-3)
    sizes = [abs(rho) for _, rho in keys[0].lands]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 5
    cosines = [cosine for _, cosine in near[0].nearest]
    assert cosines == sorted(cosines, reverse=True) and all(c <= 1 for c in cosines)
    assert 0 <= near[0].part <= 1 and 0 <= keys[0].q_part <= 1


def test_an_edit_shows_in_the_weights_and_nowhere_else(lm):
    C = lib.second_moment(lm, [LAYER], damping=1e-2)[LAYER].C.float()
    patch = rank_one(lm, C, ENTITY, LAYER, size=30.0)[0]
    before = keys_and_neighbors(lm, ENTITY, layers=[0, LAYER])[0]
    after = keys_and_neighbors(lm, ENTITY, patch, layers=[0, LAYER])[0]
    assert after[0] == before[0], "the layer below the edit"
    assert after[1].z > 2 * abs(before[1].z) and after[1].z > after[1].z_most
    assert after[1].q == before[1].q and after[1].lands == before[1].lands


def test_features_are_those_that_add_most_and_most_others_do_not_open(lm):
    found = features(lm, ENTITY, layers=[LAYER])[0]
    names = [ENTITY, *other_entities(ENTITY, 20)]
    K = read_keys(lm, names, CONTEXTS, [LAYER], lib.EMPTY)[LAYER]
    W = lm.weight(lm.mlp_out(LAYER))
    sizes = K.abs().mean(1) * W.norm(dim=0)
    tops = [set(row.topk(TOP).indices.tolist()) for row in sizes]
    common = [f for f in tops[0] if sum(f in top for top in tops[1:]) > 10]
    assert found.dropped == len(common) and found.others == 20
    for one in found.top:
        assert one.number in tops[0] and one.number not in common
        assert one.size == pytest.approx(sizes[0, one.number].item(), rel=1e-4)
        smaller = (sizes[1:, one.number] < sizes[0, one.number]).double().mean().item()
        assert one.part == pytest.approx(smaller) and len(one.up) == len(one.down) == 4
        assert one.change is None, "nothing is measured without a relation"


def test_the_order_of_the_others_changes_nothing(lm, monkeypatch):
    first = features(lm, ENTITY, layers=[LAYER])
    back = list(reversed(other_entities(ENTITY, 20)))
    monkeypatch.setattr("lib.interpret.entity_features.other_entities", lambda *_: back)
    again = features(lm, ENTITY, layers=[LAYER])
    assert [f.number for f in again[0].top] == [f.number for f in first[0].top]
    assert again[0].part == first[0].part and again[0].dropped == first[0].dropped


def test_a_feature_is_set_to_zero_only_where_a_relation_is_answered(lm):
    found = features(lm, ENTITY, layers=[LAYER])
    assert measured(lm, ENTITY, found, []) == (found, None)
    asked = [KNOWN["capital of"]]
    marked, chance = measured(lm, ENTITY, found, asked)
    changes = [one.change for one in marked[0].top]
    assert sum(change is not None for change in changes) == 3 and chance >= 0
    first = next(one for one in marked[0].top if one.change is not None)
    prompt = asked[0].ask(asked[0].templates[0], ENTITY)
    token = lm.next_token([prompt]).argmax(1).tolist()
    now = without_features(lm, LAYER, [first.number])
    wanted = lift(lm, ENTITY, asked, token, now) - lift(lm, ENTITY, asked, token, lib.EMPTY)
    assert first.change == pytest.approx(wanted, abs=1e-5)


def test_a_feature_that_is_never_open_changes_nothing(lm):
    gone = without_features(lm, LAYER, [])
    token = [3]
    asked = [KNOWN["capital of"]]
    assert lift(lm, ENTITY, asked, token, gone) == pytest.approx(
        lift(lm, ENTITY, asked, token, lib.EMPTY), abs=1e-6
    )


def test_the_whole_is_plain_values_and_says_what_was_not_done(lm):
    found = inside(lm, ENTITY, layers=[0, LAYER])
    assert found == inside(lm, ENTITY, layers=[0, LAYER])
    assert [key.layer for key in found.keys] == [0, 1] and found.chance is None
    said = str(found)
    assert "No relation is answered consistently" in said and "set to zero:" not in said
    assert "of 200 others" in said and "of 20 others" in said
    assert "drawn" not in said
    full = str(inside(lm, ENTITY, consistent=["capital of", "no such"], layers=[LAYER]))
    assert "at random: at most" in full and "lift of capital of." in full


def test_layers_of_a_patch_are_looked_at_too(lm):
    assert layers_to_see(lm) == [0, 1, 2, 3]
    module = lm.mlp_out(2)
    patch = lib.Patch({module: lm.weight(module) * 0})
    assert 2 in layers_to_see(lm, patch)
    found = features(lm, ENTITY, patch, [2])[0]
    assert found.share == 0 and all(one.size == 0 for one in found.top)
    assert isinstance(Inside((), (found,), ()).features, tuple) and math.isfinite(found.usual)
