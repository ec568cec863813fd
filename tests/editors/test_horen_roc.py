"""The benchmark of HoReN's lookup: thresholds, the crowding rule, and a row for every way."""

from __future__ import annotations

import math

import pytest
import torch

import lib
from notebooks.support import horen_11
from tests.benchmarks import horen_roc

from ..support import tiny


def test_a_threshold_lets_its_share_of_strangers_through():
    strangers = torch.arange(100.0)
    own = torch.tensor([98.5, 94.5, 94.0, 79.5, -torch.inf])
    assert horen_roc.over(own, strangers, 0.0).tolist() == [False] * 5
    assert horen_roc.over(own, strangers, 0.01).tolist() == [True] + [False] * 4
    assert horen_roc.over(own, strangers, 0.05).tolist() == [True, True, False, False, False]
    # a rewording that falls to another entry never counts
    assert horen_roc.over(own, strangers, 1.0).tolist() == [True] * 4 + [False]


def test_the_rule_and_the_mass_of_orthonormal_keys():
    """Cosines of 0 between n keys, s with the own key: half of the mass at e^{βs} = n − 1."""
    n = 64
    K, owner = torch.eye(n), torch.tensor([0, 1])
    half = math.log(n - 1) / horen_roc.STEP.beta
    Q = torch.zeros(2, n)
    for row, s in enumerate((half + 0.05, half - 0.05)):
        Q[row, row], Q[row, 2] = s, 0.0
    Q = torch.cat([Q, (1 - Q.square().sum(1, keepdim=True)).sqrt()], 1)  # of length one
    found = horen_roc.rule(torch.cat([K, torch.zeros(n, 1)], 1), Q, owner)
    assert (found["mu"], found["sigma"]) == (0.0, 0.0)
    assert found["least_s"] == pytest.approx(math.log(n) / horen_roc.STEP.beta, abs=1e-4)
    assert found["rule"] == found["mass"] == 0.5 and found["agree"] == 1.0


def test_ways_agree_where_they_must():
    draw = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(9, 6, generator=draw), dim=1)
    K = {"last": unit, "mean": unit}
    Q = {kind: x[[3, 1]] for kind, x in K.items()}
    for way in horen_roc.WAYS:
        assert horen_roc.scores(way, K, Q).max(1).indices.tolist() == [3, 1]
    by_angle, near = (horen_roc.scores(f"mean, {how}", K, Q) for how in ("angle", "distance"))
    assert torch.allclose(near.square(), 2 - 2 * by_angle, atol=1e-5)


def test_every_way_has_a_row_at_every_crowd(monkeypatch):
    lm = tiny.model("llama")
    cases = [case for case in lib.classroom() if case.id % 2][:3]
    monkeypatch.setattr(horen_roc, "STRANGERS", 8)
    crowd = [f"Fact number {n} is" for n in range(6)]
    found = list(horen_roc.rows(lm, cases, crowd, [0, 6], 2, 0.5))
    assert [(row["crowd"], row["way"]) for row in found] == [
        (size, way) for size in (0, 6) for way in horen_roc.WAYS
    ]
    for row in found:
        assert len(row["own_entry"]) == 3
        for curve in row["roc"].values():
            assert curve == sorted(curve) and len(curve) == len(horen_roc.RATES)
        for name in horen_roc.POINTS:
            pairs = zip(row[name], row["own_entry"], strict=True)
            assert all(hit <= right for hit, right in pairs)


def test_a_beginning_is_read_as_a_prompt_of_its_own():
    lm, share = tiny.model("llama"), 0.5
    rows = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16]]
    module = lm.mlp_out(2)
    found = horen_roc.beginnings(lm, rows, module, share)
    short = [row[:size] for row in rows for size in range(4, len(row))]
    wanted = horen_roc.read(lm, short, module, share)
    for kind in ("last", "mean"):
        torch.testing.assert_close(found[kind], wanted[kind], atol=1e-4, rtol=1e-4)
    crowd = ["one fact is the first of all", "another fact is the second of all"]
    cases = [case for case in lib.classroom() if case.id % 2][:2]
    sizes = {row["crowd"] for row in horen_roc.rows(lm, cases, crowd, [0, 2, 5], 2, share)}
    assert sizes == {0, 2, 5}


def test_ways_are_compared_over_the_same_cases():
    rows = [
        {"way": way, "crowd": 0, "at_general": values, "own_entry": values}
        for way, values in (("last, angle", [1.0, 0.5]), ("mean, angle", [0.5, 0.5]))
    ]
    said = horen_11.paired(rows, "mean, angle", "last, angle", "at_general")
    assert said.startswith("-25 points (95 %: ")
