"""The predicted divergence ½ tr(S Δ A Δᵀ) and the measured one."""

from __future__ import annotations

import math

import pytest
import torch

import lib
from lib.keys_values.curvature import curvature
from lib.keys_values.output_moment import moments
from notebooks.support import predicted_kl

from ..support import tiny
from ..support.editor_settings import TINY, A, B


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def small(lm, seed, layers=(2,), size=1e-2):
    """A patch with a random change of rank 1 in each of the layers."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in layers:
        W = lm.weight(lm.mlp_out(layer))
        r, b = (torch.randn(n, 1, generator=generator) for n in W.shape)
        weights[lm.mlp_out(layer)] = W + size * r @ b.T
    return lib.EMPTY.with_weights(weights)


def test_the_prediction_is_half_the_cost_and_adds_up_over_layers(lm):
    patch = small(lm, 0, (1, 2))
    total = 0.0
    for layer, pair in moments(lm, (1, 2)).items():
        name = lm.mlp_out(layer)
        delta = (patch.weights[name] - lm.weight(name)).double()
        one = curvature(*pair, 0.5)
        turned = one.outputs.T @ delta @ one.inputs
        total += float((one.sharpness * turned.square()).sum()) / 2
    assert predicted_kl.predicted(lm, patch) == pytest.approx(total, rel=1e-6)
    assert predicted_kl.predicted(lm, lib.EMPTY) == 0.0


def test_the_measured_divergence_grows_with_the_square_of_the_strength(lm):
    found = predicted_kl.curve(lm, small(lm, 1), (0.1, 1.0), tokens=300)
    slope = math.log(found.measured[1] / found.measured[0]) / math.log(10)
    assert slope == pytest.approx(2.0, abs=0.05)
    assert found.predicted[1] == pytest.approx(100 * found.predicted[0])
    assert list(found.ratio) == pytest.approx(list(found.measured / found.predicted))


def test_it_orders_changes_as_the_measurement_does(lm):
    """Changes of one length, from the flattest to the sharpest direction of a layer."""
    bent = curvature(*moments(lm, (2,))[2], 0.5)
    W, name = lm.weight(lm.mlp_out(2)), lm.mlp_out(2)
    order = bent.sharpness.flatten().argsort()
    predicted, measured = [], []
    for place in torch.linspace(len(order) // 2, len(order) - 1, 6).long():
        i, j = divmod(int(order[place]), W.shape[1])
        delta = torch.outer(bent.outputs[:, i], bent.inputs[:, j]).float()
        patch = lib.EMPTY.with_weights({name: W + 0.1 * delta})
        predicted.append(predicted_kl.predicted(lm, patch))
        sums, counts = predicted_kl.by_window(lm, [patch], tokens=600)
        measured.append(float(sums.sum() / counts.sum()))
    ranks = torch.tensor([predicted, measured]).argsort(1).argsort(1).double()
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.8


def test_what_has_no_curvature_here_is_a_sentence(lm):
    routed = lib.EDITORS["grace"](lm, **TINY["grace"]).edit([A])
    with pytest.raises(lib.PatchError, match="changes no matrix"):
        predicted_kl.predicted(lm, routed)
    other = lib.EDITORS["lora"](lm, **{**TINY["lora"], "modules": ("attn",), "epochs": 1}).edit([B])
    with pytest.raises(lib.PatchError, match="at output projections of MLPs"):
        predicted_kl.predicted(lm, other)
