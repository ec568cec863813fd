"""What entrants of the leaderboard try: none ends the contest, and each bound holds."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lib
from lessons import leaderboard
from lessons.grading import (
    confinement,
    leaderboard_entry,
)
from lessons.grading.leaderboard_entry import Entry, Failed
from lib.editors.retrieval.retrieval import Entry as Note
from lib.editors.retrieval.retrieval import Notes

from ..support import tiny

ROOT = Path(leaderboard.__file__).parents[1]
FACT = lib.Fact("Ada", "{} lives in", "Rome")
NAME = "model.layers.1.mlp.down_proj"
WIDE = torch.zeros(64, 1000)
TRICKS = """
import os
from pathlib import Path
import lib

def edit(lm, facts, after):
    what = facts[0].target_new
    if what == "parent":
        os.kill(os.getppid(), 9)
    if what == "control":
        raise ValueError("\\x1b[2J\\x07 gone")
    if what == "link":
        os.symlink("/etc/passwd", "edit.patch")
    if what == "remove":
        Path("x").write_text("x")
        os.remove("x")
    if what == "replace":
        Path("y").write_text("y")
        os.replace("y", "x")
    if what == "fill":
        for number in range(10**6):
            Path(str(number)).write_bytes(bytes(1 << 20))
    return after
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model in a folder, as `--model` takes it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    lm = tiny.model("llama")
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(folder)


class Here:
    """An entry without a process: the file's text says what its patch is."""

    def __init__(self, source, model, seconds, memory, text="", **_):
        self.text = text
        if text == "fails to start":
            raise OSError("\x1b[2Jno process")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def edit(self, facts, on="nothing"):
        return 0.1

    def made(self):
        if self.text == "a note":
            always = Notes((Note(None, "word " * 500, "x"),), always=True)
            return lib.Patch(rewrites=(always,))
        if self.text == "another shape":
            return lib.EMPTY.with_weights({NAME: torch.zeros(3, 3)})
        if self.text == "no module":
            return lib.EMPTY.with_weights({"\x1b[2Jnone": torch.zeros(3, 3)})
        if self.text == "breaks":
            raise KeyError("anything at all")
        return lib.EMPTY


def test_whatever_one_entrant_does_the_others_are_scored(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(leaderboard, "Entry", Here)
    texts = ["a note", "another shape", "breaks", "fails to start", "no module", "honest"]
    (tmp_path / "class").mkdir()
    for text in texts:
        (tmp_path / "class" / text).mkdir()
        (tmp_path / "class" / text / "editor.py").write_text(text)
    for name in ("bytes", "huge", "link"):
        (tmp_path / "class" / name).mkdir()
    (tmp_path / "class/bytes/editor.py").write_bytes(b"\xff\xfe")
    (tmp_path / "class/huge/editor.py").write_bytes(b"#" * 10**6)
    (tmp_path / "class/link/editor.py").symlink_to(tmp_path / "class/honest/editor.py")
    files = {kind: tmp_path / f"found.{kind}" for kind in ("json", "csv")}
    call = ["--folder", str(tmp_path / "class"), "--against", "", "--model", model]
    call += ["--cases", "1", "--stream", "1", "--seed", "3"]
    call += [part for kind, path in files.items() for part in (f"--{kind}", str(path))]
    assert leaderboard.main(call) == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    found = {line["editor"]: line for line in json.loads(files["json"].read_text())["editors"]}
    assert set(found) == {*texts, "bytes", "huge", "link", "no edit"}
    assert {name for name, line in found.items() if not line["failed"]} == {"honest", "no edit"}
    assert found["honest"]["locality"]["mean"] == 1
    for name in set(found) - {"honest", "no edit"}:
        assert f"{name} failed" in told.out and found[name]["score"] == 0
        assert all("\x1b" not in why and "\n" not in why for why in found[name]["failed"])
    with files["csv"].open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(found)


@pytest.fixture
def contest(model, tmp_path, monkeypatch):
    """A small contest without processes: its folder of students, and how it is called."""
    monkeypatch.setattr(leaderboard, "Entry", Here)
    folder = tmp_path / "class"
    for name in ("ada", "ben", "__MACOSX"):
        (folder / name).mkdir(parents=True)
    (folder / "ada" / "editor.py").write_text("honest")
    call = ["--folder", str(folder), "--against", "", "--model", model]
    return folder, [*call, "--cases", "1", "--stream", "1", "--seed", "3"]


def test_who_has_no_usable_file_is_in_the_ranking_with_the_reason(contest, tmp_path, capsys):
    folder, call = contest
    (folder / "ben" / "Editor.py").write_text("honest")
    for name in ("cleo", "dan", "eve", "fay"):
        (folder / name).mkdir()
    (folder / "cleo" / "editor.py").mkdir()
    os.mkfifo(folder / "dan" / "editor.py")
    (folder / "eve" / "editor.py").write_text(" \n")
    out = tmp_path / "found.json"
    assert leaderboard.main([*call, "--json", str(out)]) == 0
    found = {line["editor"]: line for line in json.loads(out.read_text())["editors"]}
    assert set(found) == {"no edit", "ada", "ben", "cleo", "dan", "eve", "fay"}
    said = capsys.readouterr().out
    for name, why in (
        ("ben", "only Editor.py, which is another name"),
        ("cleo", "editor.py is a folder"),
        ("dan", "editor.py is a pipe or a device"),
        ("eve", "editor.py is empty"),
        ("fay", "there is no editor.py in"),
    ):
        assert why in found[name]["failed"][0] and found[name]["score"] == 0
        assert f"{name} failed once: " in said and why in said


def handed_in(tmp_path, do) -> Entry:
    """An entry of a student whose process has done something to the file of the patch."""
    entry = Entry.__new__(Entry)
    entry.patch, entry.over = tmp_path / "edit.patch", ""
    entry._ask = lambda *_: do(entry.patch)
    return entry


def test_a_patch_is_a_plain_file_of_bounded_size(tmp_path, monkeypatch):
    secret = lib.Patch().save(tmp_path / "of somebody else.patch")
    long = Notes((Note(None, "word " * 300_000, "x"),))
    monkeypatch.setattr(leaderboard_entry, "PATCH", 100_000, raising=False)
    for do, why in (
        (lambda path: path.symlink_to(secret), "not a plain file"),
        (lambda path: path.mkdir(), "not a plain file"),
        (os.mkfifo, "not a plain file"),
        (lambda path: lib.Patch({NAME: WIDE}).save(path), "it can have"),
        (lambda path: lib.Patch(rewrites=(long,)).save(path), "it can have"),
    ):
        with pytest.raises(Failed, match=why):
            handed_in(tmp_path, do).made()
        path = tmp_path / "edit.patch"
        path.rmdir() if path.is_dir() else path.unlink()
    assert handed_in(tmp_path, lib.Patch({NAME: WIDE[:10]}).save).made().weights


def test_the_size_of_a_folder_counts_all_that_is_below(tmp_path, monkeypatch):
    entry = Entry.__new__(Entry)
    entry.folder = SimpleNamespace(name=str(tmp_path))
    monkeypatch.setattr(leaderboard_entry, "WRITTEN", 1 << 20)
    monkeypatch.setattr(leaderboard_entry, "FILES", 70)
    with tempfile.TemporaryFile() as entry.log:
        (tmp_path / "a/b").mkdir(parents=True)
        (tmp_path / "a/b/x").write_bytes(bytes(1 << 19))
        (tmp_path / "link").symlink_to("/usr")
        entry._look()
        (tmp_path / "a/y").write_bytes(bytes(1 << 20))
        with pytest.raises(Failed, match="were written"):
            entry._look()
        (tmp_path / "a/y").unlink()
        (tmp_path / "a/b" / ("c/" * 60)).mkdir(parents=True)
        with pytest.raises(Failed, match="were written"):
            entry._look()
        shutil.rmtree(tmp_path / "a/b/c")
        entry._look()
        os.truncate(entry.log.fileno(), 2 << 20)  # what is printed counts as well
        with pytest.raises(Failed, match="were written"):
            entry._look()


@pytest.mark.slow
def test_an_entrant_reaches_nothing_fills_nothing_and_is_named(model, monkeypatch):
    monkeypatch.setattr(leaderboard_entry, "WRITTEN", 30 << 20, raising=False)
    with Entry("tricks.py", model, 60.0, text=TRICKS) as entry:
        process = entry.process
        for what, why in (
            ("parent", "switched off|not permitted"),
            ("control", r"^ValueError: [^\x00-\x1f]*gone$"),
            ("link", "own folder|denied|not permitted"),
            ("remove", "switched off|not permitted"),
            ("replace", "switched off|not permitted"),
        ):
            with pytest.raises(Failed, match=why) as failed:
                entry.edit([lib.Fact("Ada", "{} lives in", what)])
            assert not failed.value.over
        entry.edit([FACT])
        state = Path(f"/proc/{process.pid}/stat")
        until = time.monotonic() + 20
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until, "it rests while it is not asked"
        assert entry.made().log and entry.made().log  # written twice in the same place
        with pytest.raises(Failed, match="were written") as failed:
            entry.edit([lib.Fact("Ada", "{} lives in", "fill")])
        assert failed.value.over and process.wait(20) < 0


PARENT = """
import sys, time
from lessons.grading.leaderboard_entry import Entry
text = "def edit(lm, facts, after): return after"
with Entry("own.py", sys.argv[1], 60.0, text=text) as entry:
    print(entry.process.pid, entry.over, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(confinement.obstacle()), reason="no sandbox of the system")
def test_an_entrant_that_rests_ends_with_a_killed_scorer(model, tmp_path):
    pipe, env = subprocess.PIPE, {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PARENT, model]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, text=True) as scorer:
        child = Path("/proc") / scorer.stdout.readline().strip()
        assert child.is_dir()
        scorer.kill()
    until = time.monotonic() + 20
    while (
        child.exists() and child.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        assert time.monotonic() < until, "it is left behind"
        time.sleep(0.05)
