"""`~` is the home folder wherever a path is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

import lib
from lib.lifelong.journal import Journal
from lib.model.presets_file import read_presets
from lib.workbench.forensics.candidates import read_names

from ..support import tiny

ROW = '{"subject": "Ann", "prompt": "{} lives in", "target_new": "Rome", "target_true": "Bonn"}\n'


@pytest.fixture()
def home(tmp_path, monkeypatch):
    """An empty home folder, and another present folder, where no `~` may appear."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("kind", [str, Path])
def test_a_patch_is_saved_and_loaded_in_the_home_folder(home, kind):
    assert lib.EMPTY.save(kind("~/deep/p.safetensors")) == home / "deep/p.safetensors"
    assert lib.Patch.load(kind("~/deep/p.safetensors")) == lib.EMPTY


def test_exports_go_into_the_home_folder(home):
    lm = tiny.model("llama")
    done = lib.workbench.export_model(lm, lib.EMPTY, "~/whole")
    assert done.folder == home / "whole"
    assert (home / "whole/model.safetensors").is_file()
    assert lib.load("~/whole").fingerprint == lm.fingerprint


def test_lists_texts_presets_and_journals_are_found_in_the_home_folder(home):
    (home / "names.txt").write_text("Ann\n")
    assert read_names("~/names.txt") == ["Ann"]
    (home / "p.toml").write_text('[rome."tiny-llama"]\nlayer = 1\n')
    assert read_presets("~/p.toml", "tiny-llama").rows == {"rome": {"layer": 1}}
    journal = Journal("~/journal", {"what": "test"})
    assert journal.folder == (home / "journal").resolve()
    journal.close()


def test_the_command_line_takes_a_tilde_that_no_shell_has_seen(home):
    lib.EMPTY.save("~/p.safetensors")
    from lib.workbench.cli.main import main

    assert main(["patch", "show", "~/p.safetensors"]) == 0


def test_the_other_commands_take_a_tilde_too(home, monkeypatch, capsys):
    """Those of the page, the lessons and the notebooks: what each was to write lies there."""
    from demo_app.stored import __main__ as stored
    from lessons import grader, leaderboard
    from notebooks import book, build, slides

    assert grader.main(["start", "2.1", "--my", "~/my"]) == 0
    assert list((home / "my").iterdir())
    asked = leaderboard.arguments().parse_args(["~/a.py", "--json", "~/b", "--csv", "~/c"])
    assert (asked.files, asked.json, asked.csv) == ([home / "a.py"], home / "b", home / "c")
    made = []
    monkeypatch.setattr(build, "build", lambda *_, out: made.append(out) or 1)
    monkeypatch.setattr(slides, "page", lambda number: "text")
    monkeypatch.setattr(book, "NEEDED", ())
    assert build.main(["00", "--out", "~/built"]) == 0 and made == [home / "built"]
    assert slides.main(["1", "~/1.html"]) == 0 and (home / "1.html").read_text() == "text"
    (home / "other").mkdir()
    (home / "other/thing").touch()
    assert book.main(["~/other"]) == 2
    assert f"{home / 'other'} holds something else" in capsys.readouterr().err
    lm = tiny.model("llama")
    monkeypatch.setattr(lib, "load", lambda name: lm)
    monkeypatch.setattr(stored, "make", lambda studio, part, natural: None)
    assert stored.main(["--only", "natural", "--to", "~/examples"]) == 0
    assert len(list((home / "examples").iterdir())) == 1


def test_a_mistyped_model_is_one_sentence_of_the_stored_examples_too(capsys):
    from demo_app.stored import __main__ as stored

    assert stored.main(["--model", "gemma3-270m"]) == 2
    assert "Did you mean 'gemma-3-270m'?" in capsys.readouterr().err
