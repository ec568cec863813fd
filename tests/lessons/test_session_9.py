"""Session 9 under attack: wrong types, nan, loops; and its layers are what the lessons say."""

from __future__ import annotations

import pytest
import torch

from lessons.grading.edited_layers import Layer, price
from lessons.grading.exercise_source import exercises
from lessons.grading.sandbox import Sandbox
from lessons.grading.verdict import grade

MINE = {exercise.number: exercise for exercise in exercises("9")}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(seconds=0.6, wall=20.0) as one:
        yield one


NAN = {
    "9.1": "return T * float('nan')",
    "9.2": "return float('nan')",
    "9.3": "return W * float('nan')",
    "9.4": "return W * float('nan')",
}
SPECIAL = {  # exercise and body, a word of the verdict
    ("9.1", "return T[:-1]"): "shape",
    ("9.2", "return True"): "whole number",
    ("9.2", "return -1"): "whole number",
    ("9.2", "K.zero_()\nreturn None"): "is not named",
    ("9.3", "return W"): "of what W does",
    ("9.3", "C.zero_()\nreturn torch.zeros_like(W)"): "of what W does",
    ("9.4", "while True:\n    defender(W)"): "20 times",
    ("9.4", "defender(W * float('nan'))\nreturn W"): "not finite",
}


def refused(sandbox, number, body, words):
    verdict = grade(MINE[number], MINE[number].wrong(body), sandbox)
    assert verdict.status == "wrong" and verdict.points == 0, verdict
    assert any(word in verdict.message for word in words.split("|")), verdict.message
    assert "\n" not in verdict.message and len(verdict.message) < 400, verdict.message


@pytest.mark.parametrize("number", MINE)
def test_nothing_finite(sandbox, number):
    refused(sandbox, number, NAN[number], "not finite|No entry is finite")


@pytest.mark.parametrize(("number", "body"), SPECIAL, ids=lambda text: text[:30])
def test_what_one_exercise_does_not_take(sandbox, number, body):
    only = {"hide": body} if number == "9.4" else body  # its last step, after two right ones
    refused(sandbox, number, only, SPECIAL[number, body])


def test_another_correct_way_passes(sandbox):
    others = {
        "9.1": "z = (T - T.quantile(0.5)) / (1.4826 * (T - T.quantile(0.5)).abs().quantile(0.5))\n"
        "return torch.where(z.isfinite(), z, 0.0).tolist()",
        "9.2": "P = torch.linalg.inv(C)\nU = torch.nn.functional.normalize(P @ K, dim=0)\n"
        "T = (W @ U).square().sum(0).sqrt()\nz = T - T.quantile(0.5)\n"
        "z = z / (1.4826 * z.abs().quantile(0.5))\n"
        "return None if z.max() < threshold else torch.tensor(int(z.argmax()))",
        "9.3": "d = len(C)\nU = torch.linalg.solve(C + damping * C.diagonal().mean() * "
        "torch.eye(d, dtype=C.dtype), K)\nB, s, _ = torch.linalg.svd(U, full_matrices=False)\n"
        "B = B[:, s > 1e-9 * s[0]]\nreturn W - strength * (W @ B) @ B.T",
    }
    for number, body in others.items():
        verdict = grade(MINE[number], MINE[number].wrong(body), sandbox, seed=5)
        assert verdict.status == "solved", (number, verdict)


def test_an_edit_of_a_layer_is_of_rank_one_along_the_whitened_key():
    one = Layer(torch.Generator().manual_seed(3), decay=2.0)
    change = one.edited(4, 20.0) - one.W
    U, S, Vh = torch.linalg.svd(change)
    assert abs(S[0] - 20) < 1e-6 and S[1] < 1e-9
    back = one.C @ Vh[0]
    k = one.K[:, 4]
    assert abs(back @ k) / (back.norm() * k.norm()) > 1 - 1e-9  # k ∝ C v
    assert price(change, one.C) == pytest.approx(400 * (Vh[0] @ one.C @ Vh[0]).item())
