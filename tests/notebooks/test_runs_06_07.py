"""What notebooks 06 and 07 read off their stored runs is right for rows whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lib
from notebooks.support import models
from notebooks.support import runs_06_null_space as runs_06
from notebooks.support import runs_07_superposition as runs_07


@pytest.fixture(scope="module")
def lm():
    return models.load("tiny")


def test_without_a_projector_every_direction_is_regularized_alike(lm):
    editor = runs_06.NoProjector(lm, L2=10.0)
    layer = editor.config.layers[0]
    K = torch.randn(lm.weight(lm.mlp_out(layer)).shape[1], 5).double()
    kept, new = K[:, :3], K[:, 3:]
    inverse = torch.linalg.inv(10 * torch.eye(len(K)).double() + K @ K.T)
    reach = editor.solve(layer, new, {"keys": {str(layer): (kept,)}})
    assert torch.allclose(reach, new.T @ inverse)


def test_a_row_of_inserts_leaves_what_the_sum_over_later_edits_says(lm):
    row, cases = runs_07.Row(lm), runs_07.orders()["first"][:4]
    row.values = {
        case.fact: runs_07.value_search.Target(*_target(lm, i)) for i, case in enumerate(cases)
    }.copy
    (made,) = row.write("first", cases)
    layer = row.editor.config.layer
    W, C = lm.weight(lm.mlp_out(layer)).cpu().double(), row.editor.moment(layer)
    K, V = (torch.cat(part, 1) for part in zip(*(row.pair(c.fact) for c in cases), strict=True))
    residuals, reach = lib.associative_memory.lifelong(W, K, V, C)
    wrong = ((W + residuals @ reach) @ K - V).norm(dim=0) / residuals.norm(dim=0)
    assert np.allclose(made["wrong"], wrong, atol=1e-3)
    assert made["own"][-1] == made["end"][-1] and len(made["held"]) == 4


def _target(lm, seed):
    draw = torch.Generator().manual_seed(seed)
    d_out, d_in = lm.weight(lm.mlp_out(0)).shape
    v = torch.randn(d_out, generator=draw)
    return v, v, v, v, torch.randn(1, d_in, generator=draw), ()


def test_rank_correlation_is_that_of_the_order_alone():
    assert runs_07.ranks([1, 2, 30], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert runs_07.ranks([1, 2, 3], [9, 5, 1]) == pytest.approx(-1)


def test_the_interval_of_equal_cosines_has_no_width():
    mean, draws = runs_07.over_names(torch.zeros(2, 4, 4), torch.ones(4, 4) > 0)
    assert not mean.any() and not np.nan_to_num(draws).any() and draws.shape[1] == 2
