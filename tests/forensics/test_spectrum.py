"""Spectra: the edge of noise, and what shows in a spectrum."""

from __future__ import annotations

import pytest
import torch

from lib.forensics.difference import noise_edge
from lib.forensics.spectrum import singular_values, spectrum
from lib.patch.patch import LowRank, Patch

from ..support import tiny


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


def test_no_layer_of_the_embedded_model_stands_out_by_itself(default_lm):
    """B1 on every unedited layer: at a false alarm in 100, 2.6 of a normal distribution, none."""
    assert spectrum(default_lm).z.max() < 2.6
