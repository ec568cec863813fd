"""AlphaEdit: what its null space leaves, and the keys that it keeps."""

from __future__ import annotations

import pytest
import torch

import lib
from lib import associative_memory as memory

from ..support import tiny
from ..support.spread import FACTS, SPREAD, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_alphaedit_leaves_k0_within_what_its_threshold_implies(lm):
    editor = lib.EDITORS["alphaedit"](lm, **{**SPREAD, "layers": (1,)}, quantile=0.5, L2=1e-3)
    change, space = delta(lm, editor.edit(FACTS), 1).double(), editor.null_space(1)
    C = lib.second_moment(lm, [1], tokens=600, damping=0.0)[1].C
    damage = torch.trace(change @ C @ change.T)  # mean ‖Δ k‖² over the text that made C
    assert 0 < damage <= space.threshold * change.norm() ** 2 * (1 + 1e-6)
    P = space.Q @ space.Q.T
    torch.testing.assert_close(change @ P, change, atol=1e-5, rtol=1e-4)


def test_alphaedit_keeps_keys_as_its_batch_leaves_them_and_solves_beside_them(lm):
    editor = lib.EDITORS["alphaedit"](lm, **SPREAD, quantile=0.9, L2=1e-3)
    patch = editor.edit(FACTS[:2])
    with lm.patched(patch):
        left = lm.keys(FACTS[:2], 2)
    assert not torch.allclose(left, lm.keys(FACTS[:2], 2), atol=1e-3)  # layer 1 is below it
    state = patch.memory["alphaedit"]
    torch.testing.assert_close(state["keys"]["2"][0], left, atol=1e-5, rtol=1e-5)
    K = lm.keys(FACTS[2:], 2).double()
    wanted = memory.reach_null(K, editor.null_space(2).Q, 1e-3, left.double())
    torch.testing.assert_close(editor.solve(2, K, state), wanted, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(editor.solve(2, K, {}), wanted, atol=1e-3)
