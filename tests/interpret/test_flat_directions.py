"""CrispEdit's experiment: each arm has the directions it should have, and stops where it should."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.editors.crispedit import CrispEdit
from lib.keys_values.curvature import curvature
from notebooks.support import flat_06
from tests.benchmarks import flat_directions, flat_sequence, newer_speed

from ..support import tiny
from ..support.cases import small_cases
from ..support.editor_settings import A, B, settings


def bent(d_out=5, d_in=7, energy=0.8):
    draw = torch.Generator().manual_seed(0)
    A_, S = (
        (X @ X.T / 40).double()
        for X in (torch.randn(n, 40, generator=draw).double() for n in (d_in, d_out))
    )
    return A_, curvature(A_, S, energy)


def test_arms_have_as_many_free_directions_as_crispedit():
    A_, flat = bent()
    count = int(flat.flat.sum())
    for arm in ("inputs", "inputs and outputs", "turned"):
        assert int(flat_directions.other(flat, arm).flat.sum()) == count
    assert flat_directions.other(flat, "all directions").flat.all()
    assert torch.equal(flat_directions.other(flat, "inputs and outputs").flat, flat.flat)


def test_inputs_alone_are_those_of_the_second_moment():
    A_, flat = bent()
    whole, rest = divmod(int(flat.flat.sum()), 5)
    free = flat_directions.other(flat, "inputs").flat.sum(0)  # eigenvalues of A ascend
    assert free.tolist() == [5] * whole + [rest] * (rest > 0) + [0] * (7 - whole - (rest > 0))


def test_turned_bases_are_orthonormal_and_others():
    _, flat = bent()
    turned = flat_directions.other(flat, "turned")
    X = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)).double()
    once = turned.project(X)
    assert torch.allclose(turned.project(once), once) and torch.equal(turned.flat, flat.flat)
    assert not torch.allclose(flat.project(X), once)


def test_an_arm_stops_after_the_first_step_that_reaches_the_efficacy(monkeypatch):
    lm = tiny.model("llama")
    cases = [lib.Case(A), lib.Case(B)]
    flat = CrispEdit(lm, layers=(2,), energy=0.5).curvatures({})
    shares = iter([0.0, 0.5, 1.0, 1.0])
    monkeypatch.setattr(flat_directions, "said", lambda *_: next(shares))
    settings = {"steps": 10, "efficacy": 0.9}
    patch, steps, reached = flat_directions.trained(lm, cases, flat, settings)
    assert (steps, reached) == (3, 1.0) and len(patch.weights) == 1
    delta = (patch.weights[lm.mlp_out(2)] - lm.weight(lm.mlp_out(2))).double()
    assert float((flat[2].project(delta) - delta).norm() / delta.norm()) < 1e-4


def test_the_weakest_strength_that_reaches_it(monkeypatch):
    lm = tiny.model("llama")
    shares = iter([0.0, 0.95])
    monkeypatch.setattr(flat_directions, "said", lambda *_: next(shares))
    W = lm.weight(lm.mlp_out(1))
    patch = lib.EMPTY.with_weights({lm.mlp_out(1): 2 * W})
    settings = {"closed forms": [0.25, 0.5, 1.0], "efficacy": 0.9}
    weaker, strength, reached = flat_directions.weakest(lm, [lib.Case(A)], patch, settings)
    assert (strength, reached) == (0.5, 0.95)
    assert torch.allclose(weaker.weights[lm.mlp_out(1)], 1.5 * W)


def made_up():
    rows = []
    for draw in (0, 1):
        rows.append({"draw": draw, "arm": "unedited", "rewordings": [0.0], "neighbors": [1.0]})
        for place, arm in enumerate(flat_06.ARMS):
            own = {"draw": draw, "arm": arm, "steps": 5, "predicted": 1e-3 * (place + 1)}
            size = 2e-3 * (place + 1)  # the prediction is half of what is measured
            own["text"] = [[size * s * s, size * s * s] for s in (0.5, 1.0)]
            own |= {"tokens": [100, 50], "kl": [0.01 * place], "unrelated": [1.0]}
            own |= {"held": [1.0], "rewordings": [0.5], "neighbors": [1.0 - 0.1 * min(place, 5)]}
            rows.append(own)
    return rows, {"strengths": [0.5, 1.0]}


def test_the_theory_is_read_off_rows_that_follow_it():
    rows, settings = made_up()
    found = flat_06.theory(rows, settings)
    assert found["edits"] == 2 * len(flat_06.ARMS) and found["slope"] == pytest.approx(2.0)
    assert found["rank"] > 0.9 and found["factor"] == pytest.approx(2.0, rel=1e-3)


def test_arms_are_compared_over_the_same_cases():
    rows, _ = made_up()
    said = flat_06.paired(rows, "turned", "all directions", "neighbors")
    assert said.startswith("-30 points (95 %: ")
    assert flat_06.paired(rows, "inputs", "all directions", "text").startswith("+2.0 millinats")
    # a draw that one of them lacks does not count
    short = [row for row in rows if (row["arm"], row["draw"]) != ("inputs", 1)]
    assert flat_06.paired(short, "inputs", "all directions", "text").startswith("+2.0")
    (base, first, *others) = flat_06.table(rows)
    assert base["written (%)"] == "0" and first["steps"] == "5, 5"
    assert len(others) == len(flat_06.ARMS) - 1


def test_the_floor_of_an_edit_counts_its_steps():
    lm = tiny.model("llama")
    one, two, three = (newer_speed.crispedit_floor(lm, A, (1, 2), n) for n in (1, 2, 3))
    assert 0 < two - one == three - two
    wider = newer_speed.crispedit_floor(lm, A, (0, 1, 2), 2)
    assert wider > two and one - (two - one) > 0  # the way to the lowest layer


def test_a_sequence_of_calls_is_one_patch_and_the_first_call_is_asked_after_each(monkeypatch):
    lm, cases, called = tiny.model("llama"), small_cases(), []
    real = CrispEdit.edit

    def edit(self, facts, after=lib.EMPTY):
        called.append((len(facts), len(after.facts)))
        return real(self, facts, after=after)

    monkeypatch.setattr(CrispEdit, "edit", edit)
    monkeypatch.setattr(flat_sequence, "CALL", 2)
    monkeypatch.setattr(flat_sequence, "TEXT", 64)
    asked = {"events": ["generation"], "metrics": ["generalization", "specificity"]}
    base = lib.baseline(lm, cases, **asked)
    given = settings("crispedit", "llama")
    row = flat_sequence.form_row(lm, cases, given, base)
    assert called == [(2, 0), (2, 2)]
    assert len(row["moved"]) == len(row["first"]) == 2 and row["moved"][1] > row["moved"][0] > 0
    assert [len(shares) for shares in row["first"]] == [2, 2]
    assert len(row["held"]) == len(cases) and all(x >= 0 for x in row["text"])
    monkeypatch.setattr(flat_sequence, "CALL", 4)
    at_once = flat_sequence.form_row(lm, cases, given, base)
    assert at_once["moved"] != row["moved"] and len(at_once["first"]) == 1
