"""The difference from a base: the identities of a rank-one edit, and what each method leaves."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.keys_values.null_space import null_space
from lib.keys_values.second_moment import second_moment
from lib.patch.patch import LowRank, Patch
from lib.workbench.forensics.difference import difference, noise_edge, subjects

from ..support import tiny
from ..support.editor_settings import quick
from .conftest import LAYER, NAMES, SUBJECT, rank_one, read

SPREAD = {"templates": ("{}",), "tokens": None}
FACTS = [lib.Fact(name, "About {} they say", "xy") for name in NAMES[10:40:10]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_key_is_C_v_and_sigma_is_known(lm, text):
    C = second_moment(lm, [LAYER], text)[LAYER].C
    patch, r, u, q = rank_one(lm, C)
    found = difference(lm, patch=patch, text=text)
    (row,) = found.table.itertuples()
    assert row.norm == pytest.approx((r.norm() * u.norm() / q).item(), rel=1e-5)
    assert row.rank == 1 and found.edits == 1
    v = found.changes[lm.mlp_out(LAYER)].V[:, 0].double()
    assert abs(torch.cosine_similarity(v, u, dim=0).item()) == pytest.approx(1, abs=1e-6)
    left = found.changes[lm.mlp_out(LAYER)].U[:, 0].double()
    assert abs(torch.cosine_similarity(left, r, dim=0).item()) == pytest.approx(1, abs=1e-6)
    named = subjects(lm, found, NAMES, text=text)
    assert named.name[0] == SUBJECT and named.score[0] == pytest.approx(1, abs=1e-6)
    assert "one edit of one layer" in found.signature


def test_the_span_of_C_V_holds_every_key_of_memit(lm, text):
    """For the first layer, whose keys no earlier change has moved."""
    names = [fact.subject for fact in FACTS]
    settings = {
        **quick("memit"),
        "layers": (LAYER,),
        "text": str(text),
        "templates": ("{}",),
        "tokens": None,
    }
    patch = lib.EDITORS["memit"](lm, **settings).edit(FACTS)
    found = difference(lm, patch=patch, text=str(text))
    assert found.edits == len(FACTS)
    C = second_moment(lm, [LAYER], text)[LAYER].C
    B = torch.linalg.qr(C @ found.changes[lm.mlp_out(LAYER)].V.double())[0]
    K = read(lm, names, LAYER).double()
    assert ((K - B @ (B.T @ K)).norm(dim=0) / K.norm(dim=0)).max() < 1e-3
    named = subjects(lm, found, NAMES, text=str(text))
    assert set(named.name[: len(names)]) == set(names)


def test_memit_over_layers_has_left_spaces_alike(lm, text):
    settings = {
        **quick("memit"),
        "layers": (1, 2),
        "text": str(text),
        "templates": ("{}",),
        "tokens": None,
    }
    patch = lib.EDITORS["memit"](lm, **settings).edit(FACTS[:1])
    found = difference(lm, patch=patch, text=str(text))
    assert found.table.next.dropna().min() > 0.7
    assert "spread over neighboring layers" in found.signature


def test_an_edit_inside_a_null_space_is_called_that(lm, text):
    Q = null_space(lm, [LAYER], quantile=0.6, text=text)[LAYER].Q
    patch, r, _, _ = rank_one(lm, second_moment(lm, [LAYER], text)[LAYER].C)
    inside = (Q @ torch.randn(Q.shape[1], dtype=Q.dtype))[None].float()
    patch = Patch({lm.mlp_out(LAYER): LowRank(((r[:, None].float(), inside),))})
    found = difference(lm, patch=patch, text=text)
    assert found.table.null.iloc[0] <= 0.62 and "inside a null space" in found.signature


def test_another_model_is_compared_matrix_by_matrix(lm, text):
    patch = rank_one(lm, second_moment(lm, [LAYER], text)[LAYER].C)[0]
    other = tiny.model(lm.name.removeprefix("tiny-"))
    module = other.mlp_out(LAYER)
    new = lm.weight(module, patch)
    weight = other.model.get_submodule(module).weight
    weight.data = new.T.contiguous() if lm.arch.transposed else new.clone()
    one, two = difference(lm, other, text=text), difference(lm, patch=patch, text=text)
    assert list(one.table.index) == [module] and one.elsewhere == ()
    assert one.table.norm.iloc[0] == pytest.approx(two.table.norm.iloc[0])
    # with the base at hand the base comes back exactly: it is the base
    assert torch.equal(lm.weight(module), lm.weight(module, lib.EMPTY))


def test_rounding_alone_is_rounding_and_does_not_hide_an_edit(lm, moments, text):
    everywhere = {lm.mlp_out(i): lm.weight(lm.mlp_out(i)) for i in range(lm.n_layers)}
    rounded = {name: W.bfloat16().float() for name, W in everywhere.items()}
    found = difference(lm, patch=Patch(rounded), text=text)
    assert len(found.table) == lm.n_layers and found.edits == 0
    assert "rounding or quantization" in found.signature
    C = moments[LAYER] + 1e-2 * moments[LAYER].diagonal().mean() * torch.eye(len(moments[LAYER]))
    edit = rank_one(lm, C)[0]
    module = lm.mlp_out(LAYER)
    both = {**rounded, module: lm.weight(module, edit).bfloat16().float()}
    found = difference(lm, patch=Patch(both), text=text)
    assert found.edits == 1 and found.table["rank"][module] == 1
    assert (found.table["rank"].drop(module) == 0).all()
    assert "one edit of one layer" in found.signature
    assert "fine-tuning of this layer on one fact (FT, FT-M)" in found.signature


def test_fine_tuning_that_looks_like_one_edit_is_named(lm, text):
    """One or two directions as of an edit, and beside them less than rounding leaves."""
    module, g = lm.mlp_out(LAYER), torch.Generator().manual_seed(3)
    W = lm.weight(module)
    for rank in (1, 2):
        large = torch.randn(len(W), rank, generator=g) @ torch.randn(rank, W.shape[1], generator=g)
        change = 1e-2 * large + 1e-4 * torch.randn(W.shape, generator=g)
        found = difference(lm, patch=Patch({module: W + change}), text=text)
        assert found.table["rank"][module] == rank
        assert "(ROME, R-ROME, WilKE), or fine-tuning" in found.signature


def test_a_change_of_full_rank_is_no_edit_of_one_layer(lm, text):
    module = lm.mlp_out(LAYER)
    W = lm.weight(module)
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)
    sizes = torch.logspace(0, -3, len(W))  # a few large directions and a tail
    found = difference(lm, patch=Patch({module: W + U @ torch.diag(sizes) @ Vh}), text=text)
    assert found.edits > 2 and "fine-tuning of one layer" in found.signature


def test_what_is_no_matrix_of_a_block_is_named(lm):
    other = tiny.model(lm.name.removeprefix("tiny-"))
    name = next(name for name, p in other.model.named_parameters() if p.ndim == 1)
    other.model.get_parameter(name).data += 1
    found = difference(lm, other)
    assert found.elsewhere == (name,) and name in found.signature
    with pytest.raises(lib.errors.ForensicsError, match="No output projection"):
        subjects(lm, found, NAMES)


def test_models_of_other_shapes_are_refused(lm):
    wide = {"llama": {"intermediate_size": 64}, "gpt2": {"n_inner": 64}}
    family = lm.name.removeprefix("tiny-")
    with pytest.raises(lib.errors.ForensicsError, match="does not have the shape"):
        difference(lm, tiny.model(family, **wide[family]))
    with pytest.raises(
        lib.errors.ForensicsError, match="either another model or the base under a patch"
    ):
        difference(lm, lm, Patch({lm.mlp_out(0): lm.weight(lm.mlp_out(0))}))


@pytest.mark.parametrize(
    ("editor", "more", "said"),
    [
        ("rome", {"layer": 1}, "one edit of one layer"),
        ("ft_m", {"layer": 2}, "fine-tuning of one layer"),
        ("lora", {}, "LoRA"),
        ("rect", {"keep": 0.4}, "RECT"),
    ],
)
def test_each_method_leaves_its_signature(text, editor, more, said):
    lm = tiny.model("llama")
    settings = {**quick(editor), **more}
    patch = lib.EDITORS[editor](lm, **settings).edit([lib.Fact("cat", "I saw a {}", "xy")])
    assert said in difference(lm, patch=patch, text=str(text)).signature


@pytest.mark.parametrize("shape", [(300, 800), (800, 300), (400, 400)])
def test_the_edge_of_noise_is_found_from_its_median(shape):
    S = torch.linalg.svdvals(0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0)))
    assert noise_edge(S, shape) == pytest.approx(S[0].item(), rel=0.03)
