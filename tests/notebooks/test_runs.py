"""What the notebooks' long runs compute beside the library is right where the answer is known."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch

import lib
from lib.workbench.forensics.matched_filter import Filtered
from notebooks.support import models
from notebooks.support import runs_06_null_space as runs_06
from notebooks.support import runs_07_superposition as runs_07
from notebooks.support import runs_09_learning_to_edit as runs_09
from notebooks.support import runs_12_wise as runs_12
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_17_was_it_edited as runs_17
from notebooks.support.runs_10_ultraedit import UltraEdit, editor


@pytest.fixture(scope="module")
def lm():
    return models.load("tiny")


def test_06_without_a_projector_every_direction_is_regularized_alike(lm):
    editor = runs_06.NoProjector(lm, L2=10.0)
    layer = editor.config.layers[0]
    K = torch.randn(lm.weight(lm.mlp_out(layer)).shape[1], 5).double()
    kept, new = K[:, :3], K[:, 3:]
    inverse = torch.linalg.inv(10 * torch.eye(len(K)).double() + K @ K.T)
    reach = editor.solve(layer, new, {"keys": {str(layer): (kept,)}})
    assert torch.allclose(reach, new.T @ inverse)


def test_07_a_row_of_inserts_leaves_what_the_sum_over_later_edits_says(lm):
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


def test_09_a_coin_between_two_settings_is_on_their_line_and_more_facts_are_above_it():
    full, none, mixed = np.full(40, 100.0), np.zeros(40), np.tile([0.0, 100.0], 20)
    line = [(none, full), (full, none)]  # neighbors, facts: all of one kind are kept
    text, detects = runs_09.above((mixed, 100 - mixed), line)
    assert text.startswith("+0 points [-") and 0 < detects < 10
    text, _ = runs_09.above((np.full(40, 50.0), np.full(40, 80.0)), line)
    assert text.startswith("+30 points [")


def test_10_moments_of_the_first_turn_stay_frozen_and_lifelong_ones_do_not(lm):
    facts = [lib.Fact(None, f"The number {i} is", "odd" if i % 2 else "even") for i in range(8)]
    moved, solve = {}, UltraEdit.solve
    for way in ("lifelong", "first turn"):
        writer = editor(lm, way)
        with mock.patch.object(UltraEdit, "solve", autospec=True, side_effect=solve) as spy:
            writer.edit(facts[4:], after=writer.edit(facts[:4]))
        first, *_, last = (call.args[2].keys.mean for call in spy.call_args_list)
        moved[way] = (first - last).norm().item()
    assert moved["first turn"] == 0 < moved["lifelong"]


def test_12_the_subject_of_a_prompt_is_what_its_frame_leaves():
    known = runs_12.frames()
    for text, subject in (
        ("The Reichstag is located in the city of", "The Reichstag"),
        ("If you want to visit Big Ben, you have to go to the city of", "Big Ben"),
    ):
        start, stop = runs_12.subject(text, known)
        assert text[start:stop] == subject


def test_14_every_editor_stands_in_one_family_and_in_the_streams_once():
    families = [name for members in runs_14.FAMILIES.values() for name in members]
    assert sorted(families) == sorted(runs_14.LINES)
    assert {editor for editor, _ in runs_14.LINES.values()} == set(lib.EDITORS)


def test_17_the_edited_subject_is_not_among_the_others():
    names = tuple(f"subject {i}" for i in range(9))
    norms = torch.arange(9.0).repeat(2, 1)
    norms[1, 3] = 50.0  # stands out in the second layer
    found = Filtered(names, (4, 5), norms, torch.zeros(2, 9, dtype=torch.bool))
    row = runs_17.looked(found, "subject 3")["one layer"]
    assert row["own"] > 10 and row["layers"] == (5,) and row["other"]["name"] == "subject 8"
    assert runs_17.looked(found)["one layer"]["other"] == {"name": "subject 3", "z": row["own"]}
