"""Stored figures know where they were measured, and rows say what their preset changes."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest

import lib
from lib.model.presets_file import Presets

from ..benchmarks import measured, results, tables
from ..reference import current

# of each note: the setting that it is about
SETTINGS = {"emmet": "strength", "wise": "mask_ratio", "malmen": "keys", "rledit": "keys"}
SETTINGS |= {"lemoe": "routing", "rome": "keys", "wilke": "keys", "ultraedit": "keep_keys"}


@pytest.fixture
def figure(tmp_path, monkeypatch):
    """A figure "speed" in a folder without git: its rows name editors, and it uses one file."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "rome.py").write_text("x = 1\n")
    for name, value in (("HERE", tmp_path), ("ROOT", tmp_path), ("FILE", tmp_path / "kept.json")):
        monkeypatch.setattr(measured, name, value)
    about = {"file": "speed.json", "of": ["metrics", "lib/rome.py"]}
    monkeypatch.setattr(measured, "FIGURES", {"speed": about})
    monkeypatch.setattr(measured, "RECORDED", ["speed"])
    monkeypatch.setattr(measured, "commit", lambda: "aaaaaaa")
    marks = {name: f"file of {name}" for name in current.NAMES}
    monkeypatch.setattr(measured.current, "marks", lambda: marks)
    monkeypatch.setattr(measured.current, "digest", lambda editor, model: f"preset of {editor}")
    measured._sum.cache_clear()
    yield tmp_path / "speed.json"
    measured._sum.cache_clear()


def write(path, **rows):
    path.write_text(json.dumps(rows))


def a_changed_preset(monkeypatch, marks):
    monkeypatch.setattr(measured.current, "digest", lambda editor, model: f"other {editor}")


def a_changed_file(monkeypatch, marks):
    monkeypatch.setattr(measured.current, "marks", lambda: marks | {"rome": "other", "memit": "o"})


def a_changed_metric(monkeypatch, marks):
    monkeypatch.setattr(measured.current, "marks", lambda: marks | {"metrics": "other"})


def test_rows_are_recorded_once_with_all_that_they_depend_on(figure):
    write(figure, rome=1, memit={"s": 2})
    assert "python -m tests.benchmarks.measured speed" in measured.missing()[0]
    measured.record(figure, {"facts": 4, "data": figure, "out": figure, "model": None})
    (record,) = measured.records()["speed"]
    assert record["settings"] == {"facts": 4, "data": "speed.json"}
    assert set(record["rows"]) == {"rome", "memit"}
    on = f"on {current.EMBEDDED}"
    assert set(record["of"]) == {
        "rome", f"rome {on}", "memit", f"memit {on}", "metrics", "lib/rome.py",
    }  # fmt: skip
    assert not measured.missing() and not measured.caption(["speed"])


@pytest.mark.parametrize("change", [a_changed_preset, a_changed_file, a_changed_metric])
def test_a_table_of_other_behavior_says_that_it_is_earlier(figure, monkeypatch, change):
    write(figure, rome=1, memit={"s": 2})
    measured.record(figure, "first", date="2026-11-28T23:00")
    change(monkeypatch, measured.current.marks())
    said = "*Earlier: 2026-11-28 (aaaaaaa).*\n\n"
    assert measured.caption(["speed"]) == said
    assert measured.caption([("speed", ["memit"])]) == said
    assert not measured.caption([("speed", ["grace"])])


def test_code_without_a_reference_counts_itself_and_seconds_are_always_dated(figure, monkeypatch):
    write(figure, base=1)
    measured.record(figure, "first", date="2026-11-28T23:00")
    assert not measured.caption(["speed"])
    (figure.parent / "lib" / "rome.py").write_text("x = 2\n")
    measured._sum.cache_clear()
    assert measured.caption(["speed"]).startswith("*Earlier: 2026-11-28")
    monkeypatch.setitem(measured.FIGURES["speed"], "seconds", True)
    assert measured.caption(["speed"]) == "*Taken: 2026-11-28 (aaaaaaa).*\n\n"


def test_a_new_row_has_a_record_of_its_own_and_others_keep_theirs(figure, monkeypatch):
    write(figure, rome=1, memit=2)
    measured.record(figure, "first")
    a_changed_preset(monkeypatch, {})
    monkeypatch.setattr(measured, "commit", lambda: "bbbbbbb")
    write(figure, rome=1, memit=3, lora={"commit": "ccccccc"}, ft={"commits": ["1", "2"]})
    assert len(measured.missing()) == 1
    measured.record(figure, "second")
    found = {r["commit"]: (r["settings"], set(r["rows"])) for r in measured.records()["speed"]}
    assert found["aaaaaaa"] == ("first", {"rome"})
    assert found["bbbbbbb"] == ("second", {"memit"})
    assert found["ccccccc"] == ("second", {"lora"}) and found["1, 2"] == ("second", {"ft"})
    assert not measured.missing()
    assert measured.caption([("speed", ["memit"])]) == ""
    assert measured.caption([("speed", ["rome", "memit"])]).startswith("*In part earlier: ")
    # what the files were at that commit is not known, so its rows are earlier
    assert "(ccccccc)" in measured.caption([("speed", ["lora"])])


def test_rows_that_were_made_again_and_agreed_are_todays(figure, monkeypatch):
    write(figure, rome=1, memit=2)
    measured.record(figure, "first")
    a_changed_preset(monkeypatch, {})
    monkeypatch.setattr(measured, "commit", lambda: "bbbbbbb")
    measured.again("speed", "its first four facts", ["memit"])
    found = {(*one["rows"],): one.get("again", {}) for one in measured.records()["speed"]}
    assert found["memit",]["commit"] == "bbbbbbb" and not found["rome",]
    assert not measured.caption([("speed", ["memit"])]) and not measured.missing()
    assert measured.caption([("speed", ["rome"])]).startswith("*Earlier: ")
    with pytest.raises(ValueError, match="speed has no part 'ft'"):
        measured.again("speed", "all", ["ft"])


def test_a_file_that_is_no_figure_is_left_alone_and_needs_a_line(figure):
    write(figure, rome=1)
    write(figure.with_name("other.json"), rome=1)
    measured.record(figure.with_name("other.json"), {})
    assert not measured.FILE.exists()
    assert "tables.toml has no line [figures] for other.json" in measured.missing()


def test_a_table_that_should_say_when_it_was_measured_fails_the_check(tmp_path, monkeypatch):
    table, page = tables.TABLES["classroom"], tmp_path / "PAGE.md"
    monkeypatch.setattr(results, "TABLES", {"classroom": table})
    monkeypatch.setattr(measured, "is_current", lambda *_: False)
    text = f"<!-- table: classroom -->\n\n{table()}\n<!-- end -->\n"
    page.write_text(text, encoding="utf-8")
    assert "*Earlier: " in text and not results.differences([page])
    page.write_text(results.CAPTION.sub("", text), encoding="utf-8")
    said = "PAGE.md: the table 'classroom' does not say when it was measured"
    assert "*Earlier" not in page.read_text("utf-8") and results.differences([page]) == [said]


def test_what_a_figure_depends_on_is_there():
    for name, about in measured.FIGURES.items():
        assert about.get("model", current.EMBEDDED) in current.LAYERS, name
        for part in about.get("of", ()):
            assert part == current.METRICS or (measured.ROOT / part).exists(), part


def test_the_check_wants_a_reference_of_each_preset_of_today(monkeypatch):
    assert not current.of_other_settings()
    today = current.digest
    monkeypatch.setattr(current, "digest", lambda name: "other" if name == "rome" else today(name))
    (said,) = current.of_other_settings()
    assert said.endswith("preset of rome: python -m tests.reference.current --write rome")


def embedded():
    """What the presets of the embedded model are looked up by: its name and its layers."""
    layers = list(range(current.LAYERS[current.EMBEDDED]))
    return SimpleNamespace(name=current.EMBEDDED, n_layers=len(layers), presets=Presets())


def test_a_note_stands_where_the_preset_changes_the_method():
    lm = embedded()
    assert set(tables.WORDS["notes"]) == set(SETTINGS)
    for name, setting in SETTINGS.items():
        config = lib.EDITORS[name].Config
        ours = config.preset(lm, name, preset="ours")
        preset, published = map(asdict, (ours, config.published(lm, name)))
        assert preset[setting] != published[setting], (name, setting)


def test_a_cells_settings_are_those_that_its_row_is_noted_for():
    """Stored arena cells: the note of the row is true of the settings that were written."""
    for name, cell in measured.rows_of(tables.ARENA).items():
        if not name.endswith(".json"):
            continue
        editor, settings = name.split("-", 2)[2].removesuffix(".json"), cell["settings"]
        assert cell["commit"] and (settings or editor == "base"), name
        if editor in SETTINGS:
            published = lib.EDITORS[editor].Config.published(embedded(), editor)
            assert settings[SETTINGS[editor]] != getattr(published, SETTINGS[editor]), name


def test_a_stored_run_of_a_notebook_has_no_record():
    """It names its settings itself, and a test of notebooks compares them with today's presets."""
    runs = {name for name, about in measured.FIGURES.items() if about.get("notebook")}
    assert runs and not runs & measured.records().keys()
    assert all(measured.path_of(name).parent.name == "data" for name in runs)
    assert not measured.caption(runs)
