"""The classroom on other systems: what Windows and macOS lack, or have otherwise, is simulated."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from lessons import grader, leaderboard
from lessons.grading import confinement, files
from lessons.grading.exercise_source import exercises
from lessons.grading.sandbox import Sandbox
from lessons.grading.verdict import grade, hand_in

ROOT = Path(__file__).parents[2]
(INSERT,) = exercises("2.1")


@pytest.fixture
def ada(tmp_path) -> Path:
    """The folder of one student in a class."""
    folder = tmp_path / "students" / "ada"
    folder.mkdir(parents=True)
    return folder


def test_without_landlock_the_hook_grades_and_the_teacher_is_told(monkeypatch, ada):
    monkeypatch.setattr(confinement, "landlock_abi", lambda: 0)
    assert "audit hook only" in confinement.protection()
    assert "only code that you have read" in confinement.protection()
    secret = ada / "secret.txt"
    secret.write_text("the exam")
    with Sandbox(hidden=[ada.parent]) as sandbox:
        assert sandbox.layers == ["hook"]
        assert grade(INSERT, INSERT.solution, sandbox).status == "solved"
        reads = f"print(open({str(secret)!r}).read())\n{INSERT.solution}"
        verdict = grade(INSERT, reads, sandbox)
    assert verdict.status == "wrong" and "the exam" not in verdict.message + verdict.printed


def test_without_fork_nothing_is_run_and_what_needs_no_process_works(monkeypatch, ada, capsys):
    monkeypatch.delattr(os, "fork")
    report = ada.parent.parent / "report"
    my = str(ada)
    assert grader.main(["start", "2.1", "--my", my]) == 0
    for call in (["check", "2.1", "--my", my], ["class", str(ada.parent), "--out", str(report)]):
        assert grader.main(call) == 2
        assert "Grade in WSL, on Linux, or on macOS" in capsys.readouterr().err
    (ada / "editor.py").write_text("def edit(lm, facts, after): ...")
    assert leaderboard.main([str(ada / "editor.py")]) == 2 and not report.exists()


@pytest.mark.parametrize("name", [f"my\\{INSERT.path.name}", INSERT.path.name.upper()])
def test_a_name_of_another_system_is_told_and_graded_as_missing(name, ada):
    """An archive of Windows that was unpacked elsewhere, and a folder that does not mind case."""
    (ada / name).write_text(INSERT.solution)
    (verdict,) = hand_in([INSERT], ada)
    assert verdict.status == "missing" and f"only {name}, which is another name" in verdict.message


def test_a_folder_that_does_not_mind_case_is_graded_once(ada, monkeypatch):
    """There `L2_1_INSERT.PY` is found under the name that the grader asks for."""
    (ada / INSERT.path.name.upper()).write_text(INSERT.solution)
    plain = Path.exists, Path.is_file, Path.stat, Path.read_text

    def there(path: Path) -> Path:
        names = {one.name.casefold(): one for one in path.parent.iterdir()}
        return names.get(path.name.casefold(), path)

    for method in plain:
        found = lambda path, *a, _of=method, **k: _of(there(path), *a, **k)  # noqa: E731
        monkeypatch.setattr(Path, method.__name__, found)
    assert hand_in([INSERT], ada) == [INSERT.solution]
    for junk in ("__macosx", "$Recycle.Bin", "System Volume Information"):
        (ada.parent / junk).mkdir()
    assert files.students(ada.parent) == [ada]


@pytest.mark.parametrize("encoding", ["cp1252"])
def test_a_console_without_the_letters_prints_marks_and_writes_utf8(encoding, ada, monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert grader.main(["start", "2.1", "--my", str(ada)]) == 0
    assert grader.main(["check", "2.1", "--my", str(ada)]) == 1
    assert grader.main(["solution", "2.1"]) == 0
    streams[0].flush()
    said = streams[0].buffer.getvalue().decode(encoding)
    assert "2.1 ?   Write one pair: not attempted" in said and "0 of 1 solved" in said
    assert (ada / INSERT.path.name).read_text(encoding="utf-8").startswith('"""★ Write one pair')
