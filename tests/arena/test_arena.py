"""The arena's program: cells, budgets, and folders that hold something else."""

from __future__ import annotations

import json

import pytest

import lib
from tests.benchmarks import abilities as abilities_room
from tests.benchmarks import arena, measured
from tests.benchmarks.arena import Cell, plan
from tests.benchmarks.arena_store import Result

from ..support import tiny

FAST = {"ft": {"layer": 1, "epochs": 2}, "grace": {"layer": 1, "n_iter": 2}}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two single edits, three metrics, and two items of each ability."""
    monkeypatch.setattr(arena, "SINGLES", 2)
    monkeypatch.setattr(arena, "METRICS", ("efficacy", "specificity", "locality"))
    some = [i for k in abilities_room.KINDS for i in abilities_room.items() if i.kind == k]
    monkeypatch.setattr(abilities_room, "items", lambda *_: tuple(some[::30]))


def run(lm, folder, lengths=(1, 3), **more):
    more = {"editors": ["grace"], "settings": FAST, **more}
    return arena.run(lm, {"classroom": lib.classroom()[:6]}, folder, lengths, **more)


@pytest.mark.slow
def test_every_cell_is_run_once_and_the_base_model_and_baselines_are_rows(lm, tmp_path):
    found = run(lm, tmp_path, editors=["grace", "mend"])
    refused = {Cell("mend", "classroom", n) for n in (1, 3)}
    assert set(found) == set(plan(["grace", "mend"], ["classroom"], [1, 3]))
    assert {cell for cell, result in found.items() if isinstance(result, str)} == refused
    assert all("mend has no trained network" in found[cell] for cell in refused)
    alone, stream = (found[Cell("ft", "classroom", n)] for n in (1, 3))
    assert len(alone.scores.by_case()["efficacy", "generation"]) == 2
    assert ("retention", "generation") in stream.scores.asked
    assert alone.seconds > 0 and stream.seconds > 0 and stream.ability and not alone.ability
    assert stream.made["settings"] == lib.EDITORS["ft"](lm, **FAST["ft"]).settings_dict()
    assert stream.made.pop("cpu") > 0 and alone.made.pop("cpu") > 0
    assert stream.made["commit"] == measured.commit() and alone.made == stream.made
    base = found[Cell("base", "classroom", 3)]
    assert base.seconds is None and all(base.ability)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.json")}
    again = run(lm, tmp_path, budget=0)
    assert {cell for cell in again if isinstance(again[cell], Result)} == set(found) - refused
    assert {path: path.read_bytes() for path in tmp_path.glob("*.json")} == before


@pytest.mark.slow
def test_a_stream_goes_on_where_the_budget_ended(lm, tmp_path, monkeypatch):
    whole = run(lm, tmp_path / "whole", (3,), editors=["ft"])
    clock = iter(range(10**6))
    with monkeypatch.context() as patched:
        patched.setattr(arena.time, "monotonic", lambda: next(clock))
        first = run(lm, tmp_path / "parts", (3,), editors=["ft"], budget=4)
    assert "the budget was spent" in first.values()
    second = run(lm, tmp_path / "parts", (3,), editors=["ft"])
    for cell, result in second.items():
        rows, wanted = (r.scores.rows["value"].tolist() for r in (result, whole[cell]))
        assert rows == pytest.approx(wanted, abs=1e-5), cell


def test_a_folder_of_another_arena_is_refused_and_longer_streams_may_come_later(lm, tmp_path):
    cases, more = lib.classroom(), {"editors": ["ft"], "settings": FAST, "budget": -1}
    arena.run(lm, {"classroom": cases[:3]}, tmp_path, (3,), **more)
    arena.run(lm, {"classroom": cases[:12], "other": cases[9:12]}, tmp_path, (2, 3), **more)
    kept = json.loads((tmp_path / "arena.json").read_text())["data"]
    assert set(kept["classroom"]) == {"1", "2", "3", "10"} and set(kept["other"]) == {"1", "2", "3"}
    before = (tmp_path / "arena.json").read_bytes()
    with pytest.raises(ValueError, match="classroom has other facts"):
        arena.run(lm, {"classroom": cases[1:4]}, tmp_path, (3,), **more)
    with pytest.raises(ValueError, match="another 'settings'"):
        arena.run(lm, {"classroom": cases[:3]}, tmp_path, (3,), **{**more, "settings": {}})
    with pytest.raises(ValueError, match="there is no editor 'sorcery'"):
        run(lm, tmp_path, editors=["sorcery"])
    with pytest.raises(ValueError, match="classroom has 6 facts, where 100 are needed"):
        run(lm, tmp_path, lengths=(100,))
    assert (tmp_path / "arena.json").read_bytes() == before
