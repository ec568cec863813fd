"""The curvature A ⊗ S: the projector on flat directions, its cost, and S read from a model."""

from __future__ import annotations

import pytest
import torch

import lib
from lib import associative_memory as memory
from lib.keys_values import output_moment, second_moment
from lib.keys_values.curvature import curvature

from ..support import tiny
from ..support.output_moments import moments

D_OUT, D_IN = 5, 7


def cost_of(found, delta):
    """tr(S Δ A Δᵀ); half of it is the predicted KL of a token of text after the change Δ."""
    Y = found.outputs.T @ delta @ found.inputs
    return float((found.sharpness * Y.square()).sum())


@pytest.fixture(scope="module")
def toy():
    """A (7, 7) and S (5, 5) of 400 samples each, and a matrix (5, 7)."""
    generator = torch.Generator().manual_seed(0)

    def moment(d):
        mix = torch.randn(d, d, dtype=torch.float64, generator=generator)
        x = mix @ torch.randn(d, 400, dtype=torch.float64, generator=generator)
        return x @ x.T / 400

    X = torch.randn(D_OUT, D_IN, dtype=torch.float64, generator=generator)
    return moment(D_IN), moment(D_OUT), X


@pytest.mark.parametrize("energy", [0.0, 0.5, 0.9, 0.99])
def test_the_projector_is_that_of_the_eigenvectors_of_the_kronecker_product(toy, energy):
    A, S, X = toy
    found = curvature(A, S, energy)
    inside = found.project(X)
    torch.testing.assert_close(found.project(inside), inside, atol=1e-12, rtol=0)
    torch.testing.assert_close((inside * X).sum(), inside.square().sum(), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found.project(found.inside(X)), found.inside(X), atol=1e-12, rtol=0)
    K = torch.randn(5, D_IN, dtype=torch.float64)
    torch.testing.assert_close(found.moved(X, K), K @ found.inside(X).T, atol=1e-12, rtol=1e-9)
    # the large matrix, over X with its columns below each other
    values, vectors = torch.linalg.eigh(torch.kron(A, S))
    low = vectors[:, values < found.threshold * (1 - 1e-9)]
    wanted = (low @ (low.T @ X.T.flatten())).view(D_IN, D_OUT).T
    torch.testing.assert_close(inside, wanted, atol=1e-12, rtol=1e-9)
    assert cost_of(found, inside) <= found.threshold * inside.square().sum() * (1 + 1e-12)
    # what is forbidden holds the share of the energy, and one direction less does not
    steep = found.sharpness[~found.flat]
    total = found.sharpness.sum()
    assert steep.sum() >= energy * total and steep.sum() - steep.min() <= energy * total


def test_the_cost_is_the_second_order_rise_where_keys_and_gradients_are_independent(toy):
    generator = torch.Generator().manual_seed(1)
    k = torch.randn(D_IN, 4, dtype=torch.float64, generator=generator)
    g = torch.randn(D_OUT, 3, dtype=torch.float64, generator=generator)
    delta = toy[2]
    # every gradient with every key: independent
    found = curvature(k @ k.T / 4, g @ g.T / 3, 0.5)
    exact = (g.T @ delta @ k).square().mean()
    assert cost_of(found, delta) == pytest.approx(float(exact), rel=1e-10)
    one = curvature(k[:, :1] @ k[:, :1].T, g[:, :1] @ g[:, :1].T, 0.5)
    assert cost_of(one, delta) == pytest.approx(float((g[:, 0] @ delta @ k[:, 0]) ** 2), rel=1e-10)


def test_the_cost_of_a_rank_one_change_falls_apart(toy):
    A, S, X = toy
    r, b = X[:, 0], X[0]
    cost = cost_of(curvature(A, S, 0.5), torch.outer(r, b))
    assert cost == pytest.approx(float((r @ S @ r) * (b @ A @ b)), rel=1e-10)
    assert cost == pytest.approx(
        float(torch.trace(S @ torch.outer(r, b) @ A @ torch.outer(b, r))), rel=1e-10
    )


def test_where_all_outputs_matter_alike_it_is_the_null_space(toy):
    A, _, X = toy
    found = curvature(A, torch.eye(D_OUT, dtype=torch.float64), 0.9)
    Q = memory.null_space(A, threshold=found.threshold).Q
    torch.testing.assert_close(found.project(X), X @ Q @ Q.T, atol=1e-12, rtol=0)
    # so is one number for each direction of the inputs
    assert bool((found.flat == found.flat[:1]).all())


def test_one_direction_may_stay_and_equal_ones_are_forbidden_together(toy):
    A, S, X = toy
    steep = curvature(A, S, 0.5).sharpness.flatten().sort(descending=True).values
    r = D_OUT * D_IN - 1
    share = float((steep[: r - 1].sum() + steep[:r].sum()) / 2 / steep.sum())
    found = curvature(A, S, share)
    assert int(found.flat.sum()) == 1
    assert torch.linalg.matrix_rank(found.project(X)) == 1
    one = torch.eye(3, dtype=torch.float64)
    assert not curvature(one, one, 0.5).flat.any()
    assert not curvature(A, S, 1.0).flat[curvature(A, S, 0.5).sharpness > 0].any()


def test_no_curvature_is_a_sentence():
    zero = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="zero or not finite in every direction"):
        curvature(zero, zero, 0.5)


# ---- S of a model -------------------------------------------------------------------------------


@pytest.fixture
def lm(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tiny.model("llama")


def text_file(tmp_path, times=1):
    words = "Seven days of rain, and then the old tower stood in the sun again. "
    path = tmp_path / f"text{times}.txt"
    path.write_text((words * 9)[:512] * times, encoding="ascii")  # two windows of 256 bytes
    return str(path)


def slow(lm, layer, path):
    """S by definition: one row after another, the gradients of the summed cross entropy."""
    ids = torch.tensor(lm.tokenizer(open(path).read())["input_ids"]).view(-1, 256)
    grads = []
    for row in ids:
        held = {}

        def hook(_, __, output, held=held):
            held["y"] = output.detach().requires_grad_()
            return held["y"]

        handle = lm.model.get_submodule(lm.mlp_out(layer)).register_forward_hook(hook)
        logits = lm.model(row[None]).logits[0, :-1]
        handle.remove()
        loss = torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum")
        grads.append(torch.autograd.grad(loss, held["y"])[0][0, 1:-1])
    G = torch.cat(grads).double()
    return G.T @ G / len(G), len(G)


def tokens(lm, path, count):
    """How many tokens are in A and in S of layer 1."""
    pairs = output_moment.stored_pairs(lm, [1], path, count)
    return tuple(int(one[1].tensors()["tokens"]) for one in pairs)


def test_s_is_the_second_moment_of_the_gradients_of_the_summed_loss(lm, tmp_path):
    path = text_file(tmp_path)
    found = moments(lm, [1, 3], path, 512)
    counts = tokens(lm, path, 512)
    for layer, (_, S) in found.items():
        wanted, n = slow(lm, layer, path)
        assert counts == (2 * 255, n) and n == 2 * 254 and S.dtype == torch.float64
        torch.testing.assert_close(S, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=1e-4)
    twice = moments(lm, [1], text_file(tmp_path, 2), 1024)[1]
    torch.testing.assert_close(twice[1], found[1][1], rtol=1e-4, atol=1e-6)
    assert tokens(lm, text_file(tmp_path, 2), 1024)[1] == 2 * counts[1]


def test_c_is_the_mean_over_all_tokens_but_the_first_of_each_window(lm, tmp_path, monkeypatch):
    monkeypatch.setattr(second_moment, "BLOCK", 5)  # a tiny model's C is several blocks, too
    path, name = text_file(tmp_path), lm.mlp_out(1)
    ids = lm.tokenizer(open(path).read())["input_ids"]
    rows = [lm.run([ids[i : i + 256]], watch=[name]).seen[name][0][0, 1:] for i in (0, 256)]
    K = torch.cat(rows).double()  # (tokens, d_in)
    C = lib.second_moment(lm, [1], path, 513, damping=0.0)[1].C  # 513: a label of its own
    torch.testing.assert_close(C, K.T @ K / len(K), atol=1e-5, rtol=1e-4)


def test_s_is_read_once_and_stands_beside_c(lm, tmp_path, monkeypatch):
    path = text_file(tmp_path)
    A, S = moments(lm, [1], path, 512)[1]
    C = lib.second_moment(lm, [1], path, 512, damping=0.0)[1].C
    assert torch.equal(A, C)
    assert tokens(lm, path, 512) == (2 * 255, 2 * 254)
    monkeypatch.setattr(output_moment, "one_pass", None)
    assert torch.equal(moments(lm, [1], path, 512)[1][1], S)
    again = output_moment.curvatures(lm, [1], 0.9, path, 512)[1]
    wanted = curvature(A, S, 0.9)
    assert torch.equal(again.flat, wanted.flat) and again.threshold == wanted.threshold


def test_an_empty_text_is_a_sentence(lm, tmp_path):
    (tmp_path / "none.txt").write_text("")
    with pytest.raises(lib.errors.EditError, match="is empty"):
        moments(lm, [1], tmp_path / "none.txt")
    with pytest.raises(ValueError, match="Layer 99 does not exist"):
        moments(lm, [99])
