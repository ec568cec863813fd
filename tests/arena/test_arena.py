"""The arena: cells, kills, budgets, tables with intervals, and folders that hold something else."""

from __future__ import annotations

import json

import pytest

import lib
from lib.arena import arena as room
from lib.arena import report
from lib.arena.cells import Cell, Result, plan
from lib.cli.main import main
from lib.errors import ArenaError, JournalError
from lib.evaluation import abilities as abilities_room

from ..support import tiny

FAST = {"ft": {"layer": 1, "epochs": 2}, "grace": {"layer": 1, "n_iter": 2}}
METRICS = ("efficacy", "specificity", "locality")


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Four single edits in parts of two, and two items of each ability."""
    monkeypatch.setattr(room, "SINGLES", 4)
    monkeypatch.setattr(room, "TOGETHER", 2)
    some = [i for k in abilities_room.KINDS for i in abilities_room.items() if i.kind == k]
    monkeypatch.setattr(abilities_room, "items", lambda *_: tuple(some[::30]))


def arena(lm, folder, lengths=(1, 3), **more):
    data = {"classroom": lib.classroom()[:6]}
    more = {"editors": ["grace"], "settings": FAST, "metrics": METRICS, **more}
    return lib.Arena(lm, data, folder, lengths, **more)


@pytest.fixture(scope="module")
def whole(lm, tmp_path_factory):
    """A finished arena."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room, "SINGLES", 4)
        patched.setattr(room, "TOGETHER", 2)
        made = arena(lm, tmp_path_factory.mktemp("arena"))
        for _ in made.run():
            pass
    return made


def test_every_cell_is_run_and_the_base_model_and_baselines_are_rows(whole):
    assert set(whole.results) == set(whole.cells) and not whole.left_out
    assert [cell.editor for cell in whole.cells[:4]] == ["base", "retrieval", "ft", "grace"]
    alone, stream = (whole.results[Cell("ft", "classroom", n)] for n in (1, 3))
    assert len(alone.scores.by_case()["efficacy", "generation"]) == 4
    assert ("retention", "generation") in stream.scores.asked
    assert alone.seconds > 0 and stream.seconds > 0 and stream.ability and not alone.ability
    base = whole.results[Cell("base", "classroom", 3)]
    assert base.seconds is None and all(base.ability) and base.abilities["all"] in (1, None)


def test_tables_have_an_interval_in_every_share_and_the_page_no_link(whole):
    found = report.tables(whole)
    assert len(found) == 2 * 3
    table = found["classroom", 3, "probability"]
    assert list(table.index) == ["base", "retrieval", "ft", "grace"]
    assert all("[" in cell for cell in table["specificity"])
    said = found["classroom", 3, "generation"]
    assert "efficacy" in said, "a random model writes none of these facts"
    assert "specificity" not in said, "it says no neighbor's answer, so nothing could be lost"
    text = report.markdown(whole)
    assert "| editor |" in text and "paired interval" in text
    page = report.page(whole)
    assert page.count("<img") == 2 and "http" not in page


def test_a_rank_is_marked_only_where_paired_intervals_part():
    def result(values):
        rows = [(str(i), "efficacy", "generation", f"p{i}", v, None, None)
                for i, v in enumerate(values)]  # fmt: skip
        table = report.pd.DataFrame(rows, columns=lib.evaluation.scores.COLUMNS)
        return Result(lib.Scores(table, [("efficacy", "generation")], "t"))

    found = {"a": result([1.0] * 40), "b": result([1.0] * 39 + [0.0]), "c": result([0.0] * 40)}
    assert report._best(found, "efficacy", "generation") == {"a", "b"}
    assert report._best({"a": found["a"], "b": found["b"]}, "efficacy", "generation") == set()
    assert report._best({"base": found["a"], "c": found["c"]}, "efficacy", "generation") == set()


def test_an_arena_goes_on_where_it_was_stopped(lm, whole, tmp_path, monkeypatch):
    clock = iter(range(10**6))
    with monkeypatch.context() as patched:
        patched.setattr(room.time, "monotonic", lambda: next(clock))
        first = arena(lm, tmp_path)
        list(first.run(budget=3))  # seconds of a clock that goes on by one at every look
    assert first.results and len(first.results) < len(first.cells)
    assert set(first.left_out.values()) == {"the budget was spent"}
    second = arena(lm, tmp_path)
    assert set(second.results) == set(first.results)
    again = [cell for cell, _ in second.run()]
    assert not set(again) & set(first.results) and set(second.results) == set(second.cells)
    for cell in second.results:
        mine, other = (r.scores.rows[["case", "metric", "event", "value"]]
                       for r in (Result.load(second._file(cell)), whole.results[cell]))  # fmt: skip
        keys = ["metric", "event", "case"]
        left, right = (one.astype({"case": str}).sort_values(keys) for one in (mine, other))
        assert left["value"].tolist() == pytest.approx(right["value"].tolist(), abs=1e-5), cell


def test_slow_editors_are_left_out_of_long_streams(lm, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LONG", 3)
    made = arena(lm, tmp_path)
    cell = Cell("ft", "classroom", 3)
    made.results[Cell("ft", "classroom", 1)] = Result(None, seconds=7200)
    assert made._too_slow(cell) == "7200.0 s an edit: about 6.0 hours"
    made.results[Cell("ft", "classroom", 1)] = Result(None, seconds=0.5)
    assert made._too_slow(cell) is None


def test_an_editor_that_refuses_is_left_out_and_the_others_go_on(lm, tmp_path):
    made = arena(lm, tmp_path, lengths=(1, 3), editors=["mend", "grace"])
    for cell, result in made.run():
        assert (result is None) == (cell.editor == "mend")
    refused = {Cell("mend", "classroom", n) for n in (1, 3)}
    assert set(made.left_out) == refused and set(made.results) == set(made.cells) - refused
    assert all("mend has no trained network" in reason for reason in made.left_out.values())
    assert "Not run: mend on classroom, 50 single edits (mend has no" in report.markdown(made)
    assert {cell for cell, _ in made.run()} == refused  # asked again, as it may be trained by now


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"editors": ["rome", "sorcery"]}, "there is no editor 'sorcery'"),
        ({"settings": {"sorcery": {}}}, "there is no editor 'sorcery'"),
        ({"lengths": (0,)}, "at least 1 edit, not 0"),
        ({"lengths": (100,)}, "classroom has 6 facts, where 100 are needed"),
        ({"lengths": ()}, "needs facts and lengths"),
    ],
)
def test_an_impossible_arena_is_one_sentence_and_leaves_nothing(lm, tmp_path, more, words):
    with pytest.raises(ArenaError, match=words):
        arena(lm, tmp_path / "a", **more)
    with pytest.raises(ArenaError, match="is no name of a set of facts"):
        lib.Arena(lm, {"../up": lib.classroom()[:6]}, tmp_path / "a", (2,))
    assert not (tmp_path / "a").exists()


def test_longer_streams_and_further_sets_may_come_later(lm, tmp_path):
    cases = lib.classroom()
    more = {"editors": ["ft"], "settings": FAST, "metrics": METRICS}
    lib.Arena(lm, {"classroom": cases[:3]}, tmp_path, (3,), **more)
    lib.Arena(lm, {"classroom": cases[:12], "other": cases[9:12]}, tmp_path, (2, 3), **more)
    lib.Arena(lm, {"classroom": cases[:3]}, tmp_path, (3,), **more)
    kept = json.loads((tmp_path / "arena.json").read_text())["data"]
    assert set(kept["classroom"]) == {"1", "2", "3", "10"} and set(kept["other"]) == {"1", "2", "3"}
    before = (tmp_path / "arena.json").read_bytes()
    for facts in (cases[1:4], cases[:2] + cases[5:6]):
        with pytest.raises(JournalError, match="an arena of other facts"):
            lib.Arena(lm, {"classroom": facts}, tmp_path, (3,), **more)
    assert (tmp_path / "arena.json").read_bytes() == before


def test_a_folder_of_another_arena_and_a_damaged_result_are_named(lm, whole, tmp_path):
    with pytest.raises(JournalError, match="holds another arena"):
        arena(lm, whole.folder, metrics=("efficacy",))
    with pytest.raises(JournalError, match="holds another arena"):
        arena(lm, whole.folder, settings={"ft": {"layer": 0}})
    (tmp_path / "arena.json").write_bytes((whole.folder / "arena.json").read_bytes())
    good = json.loads((whole.folder / "classroom-3-ft.json").read_text())
    for bad in ("", "[]", "{}", "[" * 100_000, json.dumps({**good, "values": 3}),
                json.dumps({**good, "ability": None})):  # fmt: skip
        (tmp_path / "classroom-3-ft.json").write_text(bad)
        with pytest.raises(JournalError, match="classroom-3-ft.json is no result of an arena"):
            arena(lm, tmp_path)


def test_plan_puts_short_streams_first():
    cells = plan(["rome", "ft"], ["a", "b"], [10, 1])
    assert [c.edits for c in cells] == [1] * 8 + [10] * 8
    assert [c.editor for c in cells[:4]] == ["base", "retrieval", "ft", "rome"]
    assert Cell("rome", "a", 10).name == "a-10-rome"


def test_the_command_writes_both_files(lm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lib.cli.options.load", lambda *_: lm)
    words = ["arena", "--to", str(tmp_path / "a"), "--lengths", "2", "--editors", "retrieval"]
    assert main([*words, "--budget", "0.000001"]) == 0
    assert "the budget was spent" in capsys.readouterr().out
    text = (tmp_path / "a" / "arena.md").read_text()
    assert "Not run: base on classroom" in text and (tmp_path / "a" / "arena.html").exists()
    for wrong in (["--budget", "-1"], ["--lengths", "x"], ["--data", "x"], ["--editors", "x"]):
        assert main([*words, *wrong]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
