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
