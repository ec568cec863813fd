"""Spectra: the formula of a spike in noise, and what shows in which of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.forensics.difference import noise_edge
from lib.forensics.spectrum import null_spectrum, singular_values, spectrum, spike
from lib.patch.patch import LowRank, Patch

from ..support import tiny
from .conftest import LAYER


@pytest.mark.parametrize("times", [0.5, 1.5, 3.0])
def test_the_formula_of_a_spike_holds_within_two_percent(times):
    draw, (d_out, d_in) = torch.Generator().manual_seed(0), (300, 800)
    noise = torch.randn(d_out, d_in, generator=draw)
    a, b = torch.randn(d_out, generator=draw), torch.randn(d_in, generator=draw)
    change = times * (d_out * d_in) ** 0.25
    W = noise + change * torch.outer(a / a.norm(), b / b.norm())
    assert singular_values(W)[0].item() == pytest.approx(spike(change, d_out, d_in, 1.0), rel=0.02)


@pytest.mark.parametrize("shape", [(300, 800), (800, 300), (400, 400)])
def test_the_edge_of_noise_is_found_from_its_median(shape):
    S = torch.linalg.svdvals(0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0)))
    assert noise_edge(S, shape) == pytest.approx(S[0].item(), rel=0.03)


def test_singular_values_from_the_smaller_gram_matrix():
    W = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    for one in (W, W.T):
        assert torch.allclose(singular_values(one).float(), torch.linalg.svdvals(W), rtol=1e-4)


def test_no_unedited_layer_stands_out_and_a_large_edit_does():
    lm = tiny.model("llama", num_hidden_layers=8)
    before = spectrum(lm)
    assert list(before.layer) == list(range(8)) and before.z.abs().max() < 6
    W = lm.weight(lm.mlp_out(3))
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(len(W), 1, generator=draw), torch.randn(1, W.shape[1], generator=draw)
    size = 6 * torch.linalg.svdvals(W)[0]
    patch = Patch({lm.mlp_out(3): LowRank(((size * a / a.norm(), b / b.norm()),))})
    after = spectrum(lm, patch)
    assert int(after.z.idxmax()) == 3 and after.z.max() > 2 * before.z.max()


def test_fewer_than_five_layers_have_no_neighbors(lm):
    assert spectrum(lm).z.isna().all()


def test_an_edit_in_the_null_space_shows_there_and_not_in_the_whole(lm, moments):
    module = lm.mlp_out(LAYER)
    W = lm.weight(module)
    values, vectors = torch.linalg.eigh(moments[LAYER])
    size = 0.6 * torch.linalg.svdvals(W)[0]
    r = torch.randn(len(W), 1, generator=torch.Generator().manual_seed(2))
    patch = Patch({module: LowRank(((size * r / r.norm(), vectors[:, :1].T.contiguous()),))})
    here = {LAYER: moments[LAYER]}
    before, after = (null_spectrum(lm, here, p) for p in (Patch(), patch))
    whole = [spectrum(lm, p).s1[LAYER] for p in (Patch(), patch)]
    assert after.s1[0] / before.s1[0] > 1.1 * whole[1] / whole[0]
    assert np.isnan(after.z[0])


def test_no_layer_of_the_embedded_model_stands_out_by_itself(default_lm):
    """B1 on every unedited layer: at a false alarm in 100, 2.6 of a normal distribution, none."""
    assert spectrum(default_lm).z.max() < 2.6
