"""Finished examples: their files are whole and in step with what they were made from."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import lib
from demo_app.inside.ranks_and_changes import Changes
from demo_app.lifelong import figures, stress_test
from demo_app.lifelong import run as lifelong
from demo_app.session.interference import Forecasts
from demo_app.session.long_run import LongRun
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from demo_app.stored import __main__ as command
from demo_app.stored import examples
from lib.editors.shared import config

from ..support.page import cases, edited, through

pytestmark = pytest.mark.usefixtures("more_strong_settings")

FILES = sorted(examples.FOLDER.glob("*.json"))
PRESETS = config._presets  # before the random models get theirs
DEFAULT = examples.file_of("SmolLM2-135M-Instruct")


# ---- the files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_whole_and_says_what_it_is(path, tmp_path):
    found = examples.read(path)
    assert examples.write(found, tmp_path).read_bytes() == path.read_bytes(), "written as it reads"
    assert path.stat().st_size < 200_000
    for part in command.LOOKS:
        shown = found.panel(part)
        if shown is None:
            continue
        assert shown.found.endswith(".") and shown.lines, part
        assert shown.figure._repr_png_().startswith(b"\x89PNG"), part
    assert found.ranks.now is not None and max(found.norms.share.values()) > 0
    assert found.forecast.measured and found.forecast.fact == found.fact
    if found.dossier is not None:
        assert found.dossier.entity == found.fact.subject and len(found.dossier.lines) == 31
        assert found.dossier.edits[0].facts == (found.fact,)
        assert any(line.changed for line in found.dossier.lines)
    if found.race is None:
        return
    test = found.race.test()
    assert len(test.cases) == command.EDITS and not figures.ended(test)
    assert [line.editor for line in test.lines] == [*stress_test.BASELINES, *command.RACE]
    assert all(line.points[-1].edits == command.EDITS for line in test.lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_in_step_with_the_facts(path):
    found = examples.read(path)
    known = {case.id: case for case in lib.classroom(found.model)}
    assert found.facts == examples.digest(known.values()), f"python -m demo_app.stored: {path.name}"
    assert found.fact == known[0].fact
    assert found.race is None or set(found.race.cases) <= set(known)


def test_the_file_of_the_default_model_is_in_step_with_its_presets(default_lm, monkeypatch):
    monkeypatch.setattr(config, "_presets", PRESETS)
    found = examples.of(default_lm)
    assert found is not None and command.current(found.settings) == command.settings(default_lm)


def test_other_weights_of_the_same_name_have_no_examples(tmp_path):
    found = examples.read(DEFAULT)
    lm = SimpleNamespace(name=found.model, fingerprint=found.fingerprint)
    assert examples.of(lm) == found
    assert examples.of(SimpleNamespace(name=found.model, fingerprint="0" * 16)) is None
    for name in "somebody/new", "..\\new", "new":
        assert examples.of(SimpleNamespace(name=name, fingerprint=found.fingerprint)) is None
    assert examples.of(lm, tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"model": 3}', "null"])
def test_a_file_that_is_no_example_is_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^x\.json holds no examples of this page: ") as error:
        examples.read(path)
    assert "\n" not in str(error.value)


def test_a_number_that_json_cannot_hold_is_not_written(tmp_path):
    found = examples.read(DEFAULT)
    with pytest.raises(ValueError):
        examples.write(replace(found, norms=Changes({0: float("nan")}, 30)), tmp_path)
    assert not list(tmp_path.iterdir())


# ---- how they are made


def test_a_race_comes_back_with_the_same_table_and_words(studio, monkeypatch):
    some = cases(4)
    monkeypatch.setattr(lib, "classroom", lambda *_: some)
    test = stress_test.plan(studio.choices, ["grace"], some, 4, 2)
    through(lifelong.run(LongRun(studio, Session()), test))
    back = examples.Race.of(test).test()
    assert figures.rows(back) == figures.rows(test) and figures.words(back) == figures.words(test)
    assert figures.sheet(back) == figures.sheet(test)
    with pytest.raises(ValueError, match="has not run"):
        examples.Race.of(replace(test, base=None))


def test_parts_are_made_one_by_one_and_kept_while_they_are_in_step(
    studio, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(lib, "load", lambda name: studio.lm)
    monkeypatch.setattr(command, "Studio", lambda lm: Studio(lm))
    monkeypatch.setattr(command, "MEMORY", "grace")
    monkeypatch.setattr(command, "EDITOR", "ft")
    path, to = examples.file_of(studio.lm.name, tmp_path), ["--to", str(tmp_path)]
    assert command.main(["--only", "forecast,norms", *to]) == 0
    first = examples.of(studio.lm, tmp_path)
    assert first.forecast.measured and first.norms is not None and first.scope is None
    assert first.editor == "ft" and first.editor_of("scope") == "grace"
    assert command.main(["--only", "scope", *to]) == 0
    second = examples.of(studio.lm, tmp_path)
    assert second.scope is not None and second.forecast == first.forecast
    text = json.loads(path.read_text())
    text["settings"]["ft"]["lr"] = 0.5
    path.write_text(json.dumps(text))
    assert command.main(["--only", "norms", *to]) == 0
    third = examples.of(studio.lm, tmp_path)
    assert third.forecast is None and third.norms == first.norms, "made by other settings: dropped"
    text["settings"] = json.loads(path.read_text())["settings"]
    removed = text["settings"]["ft"].pop("epochs")
    monkeypatch.setattr(lib.EDITORS["ft"].Config, "added", {"epochs": removed})
    path.write_text(json.dumps(text))
    assert command.main(["--only", "forecast", *to]) == 0
    fourth = examples.of(studio.lm, tmp_path)
    assert fourth.scope is not None, "a setting that came later has its old value in older files"
    assert fourth.settings["ft"]["epochs"] == removed
    assert command.main(["--only", "magic", *to]) == 2
    assert "there is no example 'magic'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_stored_example_is_what_comes_out_today(default_lm, monkeypatch):
    monkeypatch.setattr(config, "_presets", PRESETS)
    made, found = Studio(default_lm), examples.of(default_lm)
    assert command.make(made, "ranks") == found.ranks
    again = command.make(made, "norms")
    assert again.share == pytest.approx(found.norms.share, rel=1e-3)
    made.close()


# ---- what the tabs make of them


@pytest.fixture
def tab(studio, monkeypatch):
    """The tab over a random model, with the examples of the default one."""
    gr = pytest.importorskip("gradio")
    from demo_app.tabs import inside, long_runs

    monkeypatch.setattr(long_runs, "EVERY", 0.0)
    monkeypatch.setattr(inside, "drawn", lambda found: f"<img alt='{type(found).__name__}'>")
    with gr.Blocks():
        return inside.Inside(studio, examples.read(DEFAULT))


def last(pages) -> dict:
    found: dict = {}
    for page in pages:
        found |= page
    return found


def test_the_tab_opens_with_stored_examples_and_draws_them_once(tab):
    from demo_app.tabs.inside import CARDS

    for card in CARDS:
        parts = tab.parts[card.place]
        assert (parts.show is None) == (card.cost == "")
        if tab.stored_panel(card) is None:
            assert "No example is stored for" in parts.caption.value
            continue
        assert "Stored example" in parts.caption.value and "SmolLM2" in parts.caption.value
        assert "status done" in parts.status.value and "The figure in words" in parts.words.value
    visitor = SimpleNamespace(session_hash="first look")
    page = last(tab.look(False, visitor))
    assert page[tab.drawn] is True and len(tab.pictures) >= 5
    assert all("<img" in page[tab.parts[place].figure] for place in tab.pictures)
    again = last(tab.look(True, visitor))
    assert set(again) == {tab.about, tab.drawn}, "nothing is sent twice"


def test_a_live_edit_is_shown_at_once_where_that_is_cheap_and_undo_brings_the_example_back(
    tab, studio
):
    visitor = SimpleNamespace(session_hash="an editor")
    session = studio.sessions.get("an editor")
    session.patches = edited(studio, "xy").patches
    session.view = studio.look(session, studio.choices.subject("alpha", "{} is", "xy")).outcome()
    page = last(tab.look(True, visitor))
    said = {place: page.get(parts.caption, "") for place, parts in tab.parts.items()}
    assert "<b>Yours</b>" in said["ranks"] and "<b>Yours</b>" in said["norms"]
    assert "alpha is" in said["ranks"]
    assert said["scope"].count("here stands the stored example") == 1, "it says why"
    assert said["trace"] == said["wilke"] == "", "what takes long keeps its example"
    assert set(last(tab.look(True, visitor))) == {tab.about, tab.drawn}, "nothing has changed"
    session.patches = []
    back = last(tab.look(True, visitor))
    assert all("Stored example" in back[tab.parts[place].caption] for place in tab.pictures)


def test_a_model_without_examples_says_so(studio):
    gr = pytest.importorskip("gradio")
    from demo_app.tabs.inside import Inside
    from demo_app.tabs.lifelong import Lifelong

    with gr.Blocks():
        tab, race = Inside(studio), Lifelong(studio)
    assert all("No example is stored for" in p.caption.value for p in tab.parts.values())
    assert race.results.visible is False and race.stored_texts() == ("", "")


def test_a_model_with_some_examples_says_of_each_of_the_others_that_there_is_none(studio):
    gr = pytest.importorskip("gradio")
    from demo_app.tabs.inside import CARDS, Inside
    from demo_app.tabs.lifelong import Lifelong
    from demo_app.tabs.trace import TraceTab

    absent = ("trace", "wilke", "scope", "race", "traced", "natural")
    some = replace(examples.read(DEFAULT), **dict.fromkeys(absent))
    with gr.Blocks():
        tab, race, trace = Inside(studio, some), Lifelong(studio, some), TraceTab(studio, some)
    for card in CARDS:
        none = "No example is stored for" in tab.parts[card.place].caption.value
        assert none == (card.place in absent), card.place
    assert "Press the button above." in tab.parts["trace"].caption.value
    page = last(tab.look(False, SimpleNamespace(session_hash="some")))
    assert page[tab.parts["trace"].figure] == "" and page[tab.parts["ranks"].figure]
    assert race.results.visible is False and "Run the test" in race.status.value
    assert "No example is stored for" in trace.whose()


def test_the_race_stands_in_its_tab(studio, monkeypatch):
    gr = pytest.importorskip("gradio")
    from demo_app.tabs.lifelong import Lifelong

    some = cases(4)
    monkeypatch.setattr(lib, "classroom", lambda *_: some)
    test = stress_test.plan(studio.choices, ["grace"], some, 4, 2)
    through(lifelong.run(LongRun(studio, Session()), test))
    with gr.Blocks():
        tab = Lifelong(studio, replace(examples.read(DEFAULT), race=examples.Race.of(test)))
    table, words = tab.stored_texts()
    assert tab.results.visible and "Stored example" in tab.watch.picture.value
    assert "GRACE" in table and tab.table.value == table and words.count("<li>") == 3
    assert "After 4 of 4" in tab.watch.example_at(0) and "After 2 of 4" in tab.watch.example_at(1)
    assert len(tab.pictures) == 2 and tab.pictures is tab.pictures, "drawn once"


def test_the_last_edit_is_measured_once_and_only_where_that_is_possible(studio):
    forecasts, session = Forecasts(studio), Session()
    assert not forecasts.unmeasured(session)
    session = edited(studio, "xy", editor="grace")
    assert not forecasts.unmeasured(session), "it leaves the weights alone"
    session = edited(studio, "xy")
    assert forecasts.unmeasured(session)
    forecasts.measure(session).outcome()
    assert session.foretold.measured and not forecasts.unmeasured(session)
