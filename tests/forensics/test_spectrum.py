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


def test_a_large_edit_stands_beside_the_rest():
    lm = tiny.model("llama", num_hidden_layers=3)
    before, W = spectrum(lm), lm.weight(lm.mlp_out(1))
    values = torch.linalg.svdvals(W)
    assert list(before.layer) == [0, 1, 2]
    assert before.ratio[1] == pytest.approx((values[0] / values[1]).item(), rel=1e-4)
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(len(W), 1, generator=draw), torch.randn(1, W.shape[1], generator=draw)
    patch = Patch({lm.mlp_out(1): LowRank(((6 * values[0] * a / a.norm(), b / b.norm()),))})
    after = spectrum(lm, patch, [1]).iloc[0]
    assert after.s1 > 4 * values[0] and after.ratio > 3 * before.ratio[1]
