"""RLEdit: MALMEN over turns."""

from __future__ import annotations

import copy

import pytest
import torch

import lib
from lib.editors import rledit
from lib.keys_values.answer_gradients import KeyGradients
from lib.patch.patch import EMPTY

from ..support import tiny
from ..support.networks import CASES, SMALL, grads, naive


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def trained_gradient(lm, name, **settings):
    editor = lib.EDITORS[name](lm, **{**SMALL, "clip": 1e9, "accumulate": 1, **settings})
    networks = editor.fresh(CASES)
    editor.gradients(networks, CASES, 0)
    (net,) = networks.nets.values()
    return editor, networks, grads(net)


def test_one_turn_of_rledit_is_malmen(lm, monkeypatch):
    monkeypatch.setattr(rledit, "REG", 0.0)
    monkeypatch.setattr(rledit, "DISCOUNT", 0.3)
    same = {"blocks": 2, "loc_weight": 0.5, "batch": 2}
    *_, wanted = trained_gradient(lm, "malmen", **same)
    *_, found = trained_gradient(lm, "rledit", **same, turns=1)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_second_turn_remembers_the_first_and_stands_on_it(lm, monkeypatch):
    calls = []
    monkeypatch.setattr(rledit, "DISCOUNT", 0.25)
    editor = lib.EDITORS["rledit"](lm, **{**SMALL, "accumulate": 1}, turns=2)
    real = type(editor).learn

    def learn(self, networks, cases, texts, after=EMPTY, *more):
        seen, updates = real(self, networks, cases, texts, after, *more)
        calls.append((cases, *texts, after, updates))
        return seen, updates

    monkeypatch.setattr(type(editor), "learn", learn)
    editor.gradients(editor.fresh(CASES), CASES, 0)
    (_, first, calm1, start, updates), (_, second, calm2, after, _) = calls
    assert start is EMPTY and len(first) == 1 and len(second) == 2
    assert second[1].ids == first[0].ids and calm2[1].ids == calm1[0].ids
    assert second[1].weight == 0.25 * first[0].weight
    assert calm2[1].weight == 0.25 * calm1[0].weight
    for name, (A, B) in updates.items():
        torch.testing.assert_close(after.weights[name].dense(), (A @ B).float())


def test_reg_adds_the_gradient_of_the_squared_update(lm, monkeypatch):
    base = {"turns": 1, "batch": 3, "blocks": 2}
    monkeypatch.setattr(rledit, "REG", 0.0)
    *_, without = trained_gradient(lm, "rledit", **base)
    monkeypatch.setattr(rledit, "REG", 50.0)
    editor, networks, found = trained_gradient(lm, "rledit", **base)
    net = copy.deepcopy(next(iter(networks.nets.values()))).double()
    net.zero_grad()
    read = editor.read([case.fact for case in CASES], EMPTY)
    turns = editor.module_updates(networks, networks.moments, read)
    sizes = []
    for name, turn in turns.items():
        pair = KeyGradients(turn.pair.K.double(), turn.pair.G.double(), turn.pair.group)
        sizes.append(naive("malmen", net, name, pair, turn.hat).square().sum())
    (50.0 * sum(sizes)).backward()
    for name, wanted in grads(net).items():
        difference = found[name] - without[name]
        atol = 2e-3 * wanted.abs().max().item()
        torch.testing.assert_close(difference, wanted, atol=atol, rtol=2e-3, check_dtype=False)


def test_rledit_begins_with_what_malmen_has_learned(lm, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    donor = lib.EDITORS["malmen"](lm)
    more = {"begin": "malmen", "blocks": 2, "down": (1, 2)}
    with pytest.raises(lib.errors.EditError, match="malmen has no trained network"):
        lib.EDITORS["rledit"](lm, **more).fresh(CASES)
    donor.fit(CASES, steps=2)
    started = lib.EDITORS["rledit"](lm, **more).fresh(CASES)
    (net,), (wanted,) = started.nets.values(), donor.networks().nets.values()
    assert all(map(torch.equal, net.state_dict().values(), wanted.state_dict().values()))
    counts = [networks.moments["32x48"].keys.n for networks in (started, donor.networks())]
    assert counts[0] == counts[1] > 0
    with pytest.raises(lib.errors.EditError, match="needs the same modules and order"):
        lib.EDITORS["rledit"](lm, **{**more, "down": (2,)}).fresh(CASES)
    with pytest.raises(lib.errors.EditError, match="different rank, depth or choice"):
        lib.EDITORS["rledit"](lm, **more, rank=4).fresh(CASES)
