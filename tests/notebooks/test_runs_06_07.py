"""What notebooks 06 and 07 read off their stored runs is right for rows whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lib
from lib.data.texts import HELD_OUT
from notebooks.support import models
from notebooks.support import runs_06_null_space as runs_06
from notebooks.support import runs_07_superposition as runs_07


@pytest.fixture(scope="module")
def lm():
    return models.load("tiny")


def test_without_a_projector_every_direction_is_regularized_alike(lm):
    run = runs_06.Stream(lm, [], 1)
    editor = run.editor("no projector, L₂, kept keys")
    layer = editor.config.layers[0]
    K = torch.randn(lm.weight(lm.mlp_out(layer)).shape[1], 5).double()
    kept, new = K[:, :3], K[:, 3:]
    inverse = torch.linalg.inv(10 * torch.eye(len(K)).double() + K @ K.T)
    reach = editor.solve(layer, new, {"keys": {str(layer): (kept,)}})
    assert torch.allclose(reach, new.T @ inverse)


def test_a_stream_reads_whole_windows_of_the_text(lm):
    run = runs_06.Stream(lm, [], 1, runs_06.WEIGHTS)
    losses = run.windows(lib.EMPTY)["losses"]
    length = len(lm.tokenizer(HELD_OUT.read_text(encoding="utf-8")).input_ids)
    assert abs(len(losses) - length // run.settings["window"]) <= 1


ROWS = [
    {"subject": "a", "rho": [], "held": [1], "p": [0.9]},
    {"subject": "b", "rho": [0.5], "held": [1, 1], "p": [0.7, 0.8]},
    {"subject": "c", "rho": [0.1, -0.4], "held": [0, 1], "p": [0.3, 0.75, 0.9]},
]


def test_the_falls_of_two_groups_of_edits_add_up():
    assert np.allclose(runs_07.falls(ROWS, [True] * 3), [0.6, 0.05, 0])
    parts = [runs_07.falls(ROWS, which) for which in ([False, True, False], [True, False, True])]
    assert np.allclose(parts[0], [0.2, 0, 0])
    assert np.allclose(sum(parts), [0.6, 0.05, 0])


def test_a_meeting_is_a_held_fact_and_a_later_edit():
    met = runs_07.meetings(ROWS, [False, True, False])
    assert [(row["fact"], row["by"], row["lost"]) for row in met] == [
        ("a", "b", False),
        ("a", "c", True),
        ("b", "c", False),
    ]
    assert [row["|ρ|"] for row in met] == [0.5, 0.1, 0.4]
    assert [row["an opener"] for row in met] == ["yes", "no", "yes"]


def test_the_interval_of_equal_cosines_has_no_width():
    mean, draws = runs_07.over_names(torch.zeros(2, 4, 4), torch.ones(4, 4) > 0)
    assert not mean.any() and not np.nan_to_num(draws).any() and draws.shape[1] == 2
