"""Runs of layers that are summed as vectors: what points the same way in all of them stands out."""

from __future__ import annotations

import pytest
import torch

from lib.errors import ForensicsError
from lib.forensics.coherence import run_z, whitened, whitening
from lib.forensics.investigation import investigate
from lib.forensics.matched_filter import Filtered, joined, matched_filter
from lib.keys_values.stretch import filter_of, robust_z

from .conftest import LAYER, NAMES, SUBJECT, rank_one, read

N, D, LAYERS = 400, 48, 3
NOBODY = torch.zeros(N, dtype=torch.bool)


def draw(seed=0, n=N):
    """Outputs of n candidates in three layers, long in one direction and off zero."""
    Y = torch.randn(LAYERS, n, D, generator=torch.Generator().manual_seed(seed))
    Y[..., 0] *= 5
    return Y + 3.0


def test_outputs_are_whitened_as_by_hand():
    Y = draw()[0]
    found = whitening(Y, ridge=0.5).of(Y).double()
    X = (Y - Y.mean(0)).double()
    S = X.T @ X / N
    damped = S + 0.5 * S.diagonal().mean() * torch.eye(D)
    squares = (X @ torch.linalg.inv(damped) * X).sum(1)
    torch.testing.assert_close(found.norm(dim=1), (squares / squares.median()).sqrt(), rtol=1e-3,
                               atol=1e-3)  # fmt: skip
    assert found.mean(0).abs().max() < 1e-5


def test_who_is_left_out_moves_nobody_and_is_zero():
    Y = draw()[0]
    left = NOBODY.clone()
    left[3] = True
    wild = Y.clone()
    wild[3] = torch.nan
    found = whitened(wild, left)
    assert not found[3].any() and found.isfinite().all()
    others = ~left
    assert torch.equal(found[others], whitening(Y[others]).of(Y[others]).half())
    assert not whitened(Y, ~NOBODY).any()
    assert not whitened(torch.ones(N, D), NOBODY).any(), "all equal: nobody stands out"


def test_a_part_in_common_stands_out_in_the_sum_of_vectors_only():
    Y = draw()
    common = torch.randn(D, generator=torch.Generator().manual_seed(9))
    common[0] = 0
    Y[:, 7] += 5.5 * common / common.norm()
    outputs = torch.stack([whitened(one, NOBODY) for one in Y])
    left = NOBODY.expand(LAYERS, N)
    vectors = run_z(outputs, left)
    lengths = torch.stack([robust_z(one.norm(dim=1)) for one in Y]).sum(0) / LAYERS**0.5
    assert int(vectors.argmax()) == 7 and vectors[7] > 5
    assert lengths[7] < 3, "each layer alone shows little"
    turned = outputs.clone()  # the same lengths, in directions of their own
    for i in range(LAYERS):
        way = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(i)))[0]
        turned[i] = (outputs[i].float() @ way).half()
    assert run_z(turned, left)[7] < vectors[7] - 2
    left = left.clone()
    left[1, 7] = True
    assert run_z(outputs, left)[7] == 0


def test_runs_are_summed_as_vectors_where_there_are_outputs():
    outputs = torch.stack([whitened(one, NOBODY) for one in draw()])
    norms = torch.rand(LAYERS, N, generator=torch.Generator().manual_seed(1))
    names = tuple(map(str, range(N)))
    sinks = NOBODY.expand(LAYERS, N)
    found = Filtered(names, (4, 5, 6), norms, sinks, outputs)
    best = found.top(1, (2,))[0]
    pairs = [run_z(outputs[i : i + 2], sinks[:2]) for i in (0, 1)]
    assert best.z == pytest.approx(max(float(one.max()) for one in pairs))
    alone = found.top(1, (1,))[0]
    assert alone.z == pytest.approx(
        max(float(run_z(one[None], sinks[:1]).max()) for one in outputs)
    )
    plain = Filtered(names, (4, 5, 6), norms, sinks)
    assert plain.top(1, (1,))[0].z == pytest.approx(float(plain.z.max()))
    halves = [
        Filtered(names, layers, norms[part], sinks[part], outputs[part])
        for layers, part in (((4,), slice(0, 1)), ((5, 6), slice(1, 3)))
    ]
    assert torch.equal(joined(halves).outputs, outputs)
    assert joined(halves).top(5, (1, 2, 3)) == found.top(5, (1, 2, 3))


def test_the_filter_gives_the_vectors_of_its_norms(lm, moments):
    here = {1: moments[1], 2: moments[2]}
    found = matched_filter(lm, NAMES, here, vectors=True)
    plain = matched_filter(lm, NAMES, here)
    assert torch.equal(found.norms, plain.norms) and plain.outputs is None
    filters = {layer: filter_of(lm.weight(lm.mlp_out(layer)), moments[layer]) for layer in here}
    for i, layer in enumerate((1, 2)):
        K = read(lm, NAMES, layer).T
        Y = filters[layer].outputs(K)
        assert torch.allclose(Y.norm(dim=1), filters[layer].norms(K), rtol=1e-5)
        torch.testing.assert_close(
            found.outputs[i].float(), whitened(Y, found.left[i]).float(), atol=1e-2, rtol=1e-2
        )


def test_an_examination_with_vectors_names_the_same_subject(lm, moments, text):
    C = moments[LAYER] + 1e-2 * moments[LAYER].diagonal().mean() * torch.eye(len(moments[LAYER]))
    patch = rank_one(lm, C, size=8.0)[0]
    found = investigate(lm, NAMES, patch, layers=[0, LAYER], text=text, tokens=4000, vectors=True)
    assert found.filtered.outputs.shape[:2] == (2, len(NAMES))
    assert found.suspects[0].name == SUBJECT and LAYER in found.suspects[0].layers


def test_too_few_candidates_for_vectors_are_one_sentence(lm, moments, text):
    few = NAMES[: len(lm.weight(lm.mlp_out(LAYER)))]
    with pytest.raises(ForensicsError, match=f"more candidates than the {len(few)} outputs"):
        matched_filter(lm, few, {LAYER: moments[LAYER]}, vectors=True)
    for more in ({"names": few}, {"names": NAMES, "prompts": few}):
        with pytest.raises(ForensicsError, match=f"not for {len(few)}"):
            investigate(lm, text=text, tokens=4000, vectors=True, **more)
