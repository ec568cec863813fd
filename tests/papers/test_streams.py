"""LEMoE's and WISE's experiments: from an empty cache, at the paper's settings, and their parts."""

from __future__ import annotations

import json
import math

import pytest
import torch

import lib
from lib.editors.wise.merging import ties
from lib.editors.wise.route import SideMemory
from notebooks.support import stored_runs

from ..benchmarks.papers import lemoe, streams, wise
from ..benchmarks.papers.frame import Given, make
from ..benchmarks.papers.verdicts import OPPOSITE, SAME, UNSEEN
from ..support import tiny
from ..support.data_files import SELFCHECK, TEMPORAL, ZSRE
from ..support.usual import few

FAMILIES = ("gpt2", "gptj", "llama", "mistral", "qwen2")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the papers' files, two rows of each, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    files = {
        "zsre_mend_eval.json": ZSRE,
        **dict(zip(wise.FILES.values(), (SELFCHECK, TEMPORAL), strict=True)),
    }
    for name, rows in files.items():
        (data / name).write_text(json.dumps(rows), "utf-8")
    return data


@pytest.fixture
def small(monkeypatch):
    """The paper's settings on few facts and in few steps, so that a test takes seconds."""
    for paper in (lemoe, wise):
        monkeypatch.setitem(paper.SIZES, "paper", paper.SIZES["tiny"])
    more = {"lengths": (2,), "long": 2, wise.HALLUCINATION: (2,), wise.TEMPORAL: (2,)}
    monkeypatch.setitem(wise.SIZES, "paper", {**wise.SIZES["tiny"], **more})
    monkeypatch.setitem(lemoe.STRUCTURE, "steps", 2)
    monkeypatch.setitem(wise.STRUCTURE, "n_iter", 2)
    monkeypatch.setitem(wise.STRUCTURE, "contexts", ((4, 1),))
    monkeypatch.delitem(wise.KINDS, wise.HALF)


def rows_of(paper, given, to):
    """All rows of a paper's experiments, by the name of their file."""
    found = {}
    for experiment in paper.experiments(given):
        assert experiment.seconds > 0 and experiment.memory > 0
        path = make(experiment, to, math.inf, lambda text: None)
        found[experiment.run.name] = stored_runs.read(path)["rows"]
        assert all(paper.shown(row) for row in found[experiment.run.name])
    return found


@pytest.mark.parametrize("family", few(FAMILIES, 0, drawn=1))
def test_lemoe_at_the_papers_settings(family, folder, small, tmp_path):
    lm = tiny.model(family)
    found = rows_of(lemoe, Given("paper", (lm,), folder), tmp_path / "rows")
    arms = {row["arm"]: row for row in found[lemoe.PARTS]}
    assert tuple(arms) == (lemoe.UNEDITED, *lemoe.ARMS)
    for arm in lemoe.ARMS:
        row = arms[arm]
        assert sorted(sum(row["batches"], [])) == [0, 1]
        assert list(map(len, row["held"])) == list(map(len, row["routed"])) == [1, 2]
    assert [row["arm"] for row in found[lemoe.BATCH]] == [*lemoe.ONE_BATCH]


@pytest.mark.parametrize("family", few(FAMILIES, 0, drawn=1))
def test_wise_at_the_papers_settings(family, folder, small, tmp_path):
    lm = tiny.model(family)
    found = rows_of(wise, Given("paper", (lm,), folder), tmp_path / "rows")
    own = [row for row in found[wise.LENGTHS] if row["arm"] == wise.WISE]
    assert [row["edits"] for row in own] == [1, 2]
    assert {*own[-1]["deltas"]} == {"edit", "rewording", "neighbor", "unrelated"}
    kinds = {row["arm"].split(": ")[0] for row in found[wise.MERGING]}
    assert kinds == {wise.SERIES, *wise.KINDS}
    for run in wise.FILES:
        assert {row["arm"] for row in found[run]} == {wise.UNEDITED, *wise.PAPER_TEMPORAL}
        assert all(min(row["ppl"]) >= 1 for row in found[run])
    assert all(
        len(row["later"]) == row["edits"] or not row["edits"] for row in found[wise.TEMPORAL]
    )


def test_a_folder_without_facts_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither zsre_mend_edit.json nor"):
        streams.file_of(Given("tiny", data=tmp_path))
    with pytest.raises(ValueError, match="has 101 facts of 120"):
        streams.streams(Given("tiny"), 40, 3)


def test_streams_share_no_fact():
    each = streams.streams(Given("tiny"), 33, 3)
    texts = [case.fact.text for one in each for case in one]
    assert len({*texts}) == len(texts) == 99


def test_all_plans_have_batches_of_the_same_sizes():
    lm = tiny.model("llama")
    facts = [case.fact for case in streams.streams(Given("tiny"), 9, 1)[0]]
    plans = {plan: lemoe.planned(lm, facts, 4, plan, 0) for plan in lemoe.PLANS}
    sizes = {plan: sorted(map(len, batches)) for plan, (batches, *_) in plans.items()}
    assert len({*map(tuple, sizes.values())}) == 1
    assert all(sorted(sum(batches, [])) == [*range(9)] for batches, *_ in plans.values())
    clustered, shuffled = plans["clustered"], plans["batches shuffled"]
    assert sorted(clustered[0]) == sorted(shuffled[0]) and clustered[1:] == shuffled[1:]
    assert clustered[1] > plans["facts shuffled"][1]  # alike within batches


def test_merging_trained_shards_is_what_the_editor_does():
    lm = tiny.model("llama")
    facts = [case.fact for case in streams.streams(Given("tiny"), 4, 1)[0]]
    shards = wise.trained(lm, "tiny", facts, 1, 0.2, False)
    (route,) = shards.routes.values()
    first = wise.joined(route.memories[:2], "TIES")
    again = wise.joined(route.memories[2:], "TIES", first)
    whole = wise.editor(lm, "tiny", save_freq=1, merge_freq=2).edit(facts, check=False)
    ((merged,),) = [one.memories for one in whole.routes.values()]
    assert torch.equal(again.tau, merged.tau) and again.eps == merged.eps and again.facts == 4


def test_disjoint_shards_by_ties_are_their_sum():
    lm = tiny.model("llama")
    facts = [case.fact for case in streams.streams(Given("tiny"), 2, 1)[0]]
    (route,) = wise.trained(lm, "tiny", facts, 1, 0.2, True).routes.values()
    one, two = (memory.tau for memory in route.memories)
    assert not ((one != 0) & (two != 0)).any() and one.any() and two.any()
    torch.testing.assert_close(ties([one, two]), one + two)


def test_the_sum_of_shards_keeps_what_was_added_up_before():
    one, two = (SideMemory(torch.full((2, 2), x), x, 1) for x in (1.0, 2.0))
    found = wise.joined([two], "sum", one)
    assert torch.equal(found.tau, torch.full((2, 2), 3.0)) and (found.eps, found.facts) == (1.0, 2)


def made(arm, value, **more):
    """Rows of three streams in which every score has one value."""
    scores = {name: [value] * 20 for name in streams.COLUMNS}
    return [{"arm": arm, "stream": i, "forced": scores, **more} for i in range(3)]


def test_outcomes_follow_the_rules():
    held = {"batches": [[0, 1], [2]], "held": [[1.0, 1.0], [0.0, 0.0, 1.0]], "routed": [[1, 1, 1]]}
    kept = {**held, "held": [[1.0, 1.0], [1.0, 1.0, 1.0]]}
    parts = made(lemoe.PUBLISHED, 0.2, **held) + made(lemoe.FITTED, 0.9, **kept)
    parts += made("facts shuffled", 0.5, **kept)
    found = {name: answer for name, (_, answer) in lemoe.outcomes(parts, []).items()}
    assert found == {
        "lasting": OPPOSITE, "forgetting": OPPOSITE, "fitted": UNSEEN, "order": SAME,
    }  # fmt: skip
    lengths = made(wise.WISE, 0.95, edits=33) + made("GRACE", 0.2, edits=33)
    merging = made(f"{wise.TWO}: TIES", 0.8) + made(f"{wise.TWO}: mean", 0.4)
    found = {name: answer for name, (_, answer) in wise.outcomes(lengths, merging).items()}
    assert found["ties"] == SAME and {*found} == {"all_three", "ties"}
    assert not lemoe.outcomes(parts[:1], []) and not wise.outcomes([], [])


def test_without_data_the_paper_scale_has_the_published_settings():
    lm = tiny.model("mistral")
    own = wise.settings(lm, "paper")
    assert (own["n_iter"], own["lr"], own["alpha"], own["beta"], own["units"]) == (
        70, 1.0, 5.0, 20.0, "absolute",
    )  # fmt: skip
    assert wise.settings(lm, "default")["layer"] < lm.n_layers
    assert lemoe.editor(lm, "paper", {}).config.lr == 2e-4
    assert lib.EDITORS["wise"] is type(wise.editor(lm, "paper"))
