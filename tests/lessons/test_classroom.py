"""The workflow file for students' repositories, and marks as Canvas and Moodle read them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lessons.grading.exercise_source import exercises
from lessons.grading.gradebooks import gradebooks
from lessons.grading.verdict import Verdict

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / "lessons" / "classroom.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in WORKFLOW["jobs"]["check"]["steps"]}
INSERT = exercises("2.1")[0]


def run(step, folder, **env):
    """A step as a runner of GitHub runs it: bash that ends at the first error, also in a pipe."""
    assert STEPS[step]["shell"] == "bash"
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    clean = {"PATH": f"{python.parent}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(folder)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]]
    summary = {"GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return subprocess.run(
        command, cwd=folder, env=clean | WORKFLOW["env"] | summary | env, text=True,
        capture_output=True,
    )  # fmt: skip


@pytest.mark.slow
def test_the_workflow_checks_what_a_student_has_pushed(tmp_path):
    (tmp_path / "course").mkdir()  # no link: `../my` has to lie beside it
    for name in ("lessons", "lib"):
        (tmp_path / "course" / name).symlink_to(ROOT / name)
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / INSERT.path.name).write_text(INSERT.stub)
    done = run("The check", tmp_path, EXERCISES="2.1")
    assert done.returncode == 1, done.stderr
    said = (tmp_path / "summary.md").read_text()
    assert said == done.stdout and "0 of 1 solved" in said


def test_the_workflow_installs_what_the_course_asks_for(tmp_path):
    """Cloning and pip are recorded in the place of being run: the test has no network."""
    (tmp_path / "bin").mkdir()
    for name in ("git", "python"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    done = run("The course", tmp_path, COURSE="ada/course")
    git, pip = done.stdout.splitlines()
    assert git.startswith("git clone") and git.endswith("https://github.com/ada/course course")
    assert pip == "python -m pip install -q -r course/requirements.txt"
    assert (ROOT / "requirements.txt").is_file() and WORKFLOW["permissions"] == {"contents": "read"}


def test_marks_in_the_forms_of_canvas_and_moodle():
    one = Verdict("2.1", "l2_1_insert", "Write one pair", 1, "solved", "solved.")
    half = replace(one, exercise="3.2", stars=2, status="wrong", right=("a",), parts=2)
    none = replace(one, status="missing")
    unread = replace(half, unread=True)
    some = {"ada": [one, half], "=ben()": [none, replace(half, right=())], "cem": [one, unread]}
    made = gradebooks(some, {("cem", "2"): 0.75})
    canvas = list(csv.reader(made["canvas.csv"].splitlines()))
    assert canvas == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Session 2", "Session 3"],
        ["Points Possible", "", "", "", "", "1", "2"],
        ["ada", "", "", "ada", "", "1", "1"],
        ["'=ben()", "", "", "'=ben()", "", "", "0"],
        ["cem", "", "", "cem", "", "0.75", ""],
    ]
    moodle = list(csv.reader(made["moodle.csv"].splitlines()))
    assert moodle == [
        ["Username", "Session 2", "Session 3"],
        ["ada", "1", "1"],
        ["'=ben()", "", "0"],
        ["cem", "0.75", ""],
    ]
