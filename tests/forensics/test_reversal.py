"""Taking an edit out: the exact identities, the control, and the answer that comes back."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.patch.patch import LowRank, Patch
from lib.workbench.forensics.candidates import key_moments
from lib.workbench.forensics.edited_prompts import objects
from lib.workbench.forensics.reversal import removed, subject_space

from ..support import tiny
from ..support.editor_settings import quick
from .conftest import LAYER, SUBJECT, rank_one, read


@pytest.fixture
def edited(lm, moments):
    C = moments[LAYER] + 1e-2 * moments[LAYER].diagonal().mean() * torch.eye(len(moments[LAYER]))
    return rank_one(lm, C)


def test_the_true_direction_takes_the_whole_edit_out(lm, edited):
    """β = 1 and the true u: W̃ − W₀ = −(W₀û)ûᵀ exactly."""
    patch, _, u, _ = edited
    u = (u / u.norm()).float()
    W0 = lm.weight(lm.mlp_out(LAYER))
    found = lm.weight(lm.mlp_out(LAYER), removed(lm, {LAYER: u[:, None]}, patch))
    expected = W0 - torch.outer(W0 @ u, u)
    assert torch.allclose(found, expected, atol=1e-5 * W0.norm())


def test_the_control_gives_the_edited_model_back(lm, edited, moments):
    patch = edited[0]
    B = subject_space(lm, LAYER, SUBJECT, moments[LAYER], patch)
    control = removed(lm, {LAYER: B}, patch, strength=0.0)
    here, there = (lm.weight(lm.mlp_out(LAYER), p) for p in (patch, control))
    assert torch.allclose(here, there, atol=1e-6)
    prompt = f"About {SUBJECT} they"
    rows = []
    for one in (lib.EMPTY, patch, control):
        with lm.patched(one):
            rows.append(lm.next_token(prompt))
    assert torch.allclose(rows[1], rows[2], atol=1e-4)
    assert not torch.allclose(rows[0], rows[1], atol=1e-2)


def test_a_space_is_orthonormal_and_holds_the_subjects_directions(lm, moments):
    C = moments[LAYER]
    B = subject_space(lm, LAYER, SUBJECT, C)
    assert torch.allclose(B.T @ B, torch.eye(B.shape[1]), atol=1e-4)
    k = read(lm, [SUBJECT], LAYER)
    u = torch.linalg.solve(C + C.diagonal().mean() * torch.eye(len(C)), k)
    assert (u - B @ (B.T @ u)).norm() < 1e-2 * u.norm()


def test_the_edited_answer_goes_and_is_named():
    """In 48 dimensions the base matrix loses too much for its own answer to come back."""
    lm = tiny.model("llama")
    fact = lib.Fact("cat", "I saw a {}", "xy")
    patch = lib.EDITORS["rome"](lm, **quick("rome"), second_moment=False).edit([fact])
    C = key_moments(lm, [1], patch, tokens=3000)[1]
    B = subject_space(lm, 1, fact.subject, C, patch, ("{}", "I saw a {}"))
    back = removed(lm, {1: B}, patch)
    with lm.patched(patch):
        edited = lm.next_token(fact.text).argmax()
    with lm.patched(back):
        now = lm.next_token(fact.text).argmax()
    assert lm.tokenizer.decode([edited]) == " xy" and now != edited
    named = objects(lm, fact.subject, patch, back, templates=["I saw a {}", "I saw the {}"])
    assert named.token[0] == " xy" and named.rise[0] > 0
    assert back.log == patch.log and back.base == lm.identity


def test_a_dense_suspect_and_a_model_without_patch_are_reversed_as_well(lm, edited, moments):
    patch = edited[0]
    module = lm.mlp_out(LAYER)
    B = subject_space(lm, LAYER, SUBJECT, moments[LAYER], patch)
    dense = Patch({module: lm.weight(module, patch)})
    one, two = (lm.weight(module, removed(lm, {LAYER: B}, p)) for p in (patch, dense))
    assert torch.allclose(one, two, atol=1e-5)
    assert isinstance(removed(lm, {LAYER: B[:, :1]}).weights[module], LowRank)
