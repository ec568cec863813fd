"""What an edit of ROME does to the keys of other facts, predicted before it is made."""

from __future__ import annotations

import pytest
import torch

import lib
from lib import associative_memory as memory


def outputs(lm, module: str, K: torch.Tensor, patch: lib.Patch) -> torch.Tensor:
    with lm.patched(patch):
        return lm.output(module, K.T).T  # (d_out, n)


@pytest.mark.slow
def test_the_predicted_change_is_the_measured_one_at_every_foreign_key(default_lm):
    lm = default_lm
    facts = [case.fact for case in lib.classroom()[1:40:2]]
    editor = lib.EDITORS["rome"](lm, templates=("{}",), steps=8, keys="prompt")
    layer = editor.config.layer
    name, K = lm.mlp_out(layer), lm.keys(facts, layer)
    C = lib.second_moment(lm, [layer])[layer]
    before, patch = outputs(lm, name, K, lib.EMPTY), lib.EMPTY
    for t in range(3):  # one after another: the earlier keys are foreign keys then
        (R, B), _ = editor.update(facts[t], patch)
        predicted = R @ (B @ K)  # before anything is written
        residual = predicted[:, t : t + 1]
        rho = memory.interference(K[:, t : t + 1].double(), C, K.double()).float()
        torch.testing.assert_close(predicted, residual * rho, atol=1e-4, rtol=1e-3)
        patch = editor.edit([facts[t]], after=patch)
        after = outputs(lm, name, K, patch)
        torch.testing.assert_close(lm.keys(facts, layer), K)  # nothing below the layer moves
        gap = (after - before - predicted).norm(dim=0) / predicted.norm(dim=0)
        assert gap.max() < 1e-3, gap.max()  # the smallest changes are near float32's rounding
        big = predicted.norm(dim=0) > 0.01 * predicted.norm(dim=0).max()
        assert big.sum() > 5 and gap[big].max() < 1e-4
        before = after
