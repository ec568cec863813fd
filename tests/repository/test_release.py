"""The release's steps: programs and editors that there are, each run once and in order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import lib

from ..benchmarks import release


def test_each_step_is_a_program_of_the_folder_with_editors_that_there_are():
    assert len({step.name for step in release.STEPS}) == len(release.STEPS)
    for step in release.STEPS:
        program, *words = step.words.format(work="w", data="d").split()
        assert (Path(release.__file__).parent / f"{program}.py").is_file(), step.name
        named = [words[i + 1] for i, word in enumerate(words) if word == "--editors"]
        assert {one for some in named for one in some.split(",")} <= set(lib.EDITORS), step.name


def test_a_step_that_ended_is_not_run_again_and_the_budget_stops_one(tmp_path, monkeypatch, capsys):
    steps = tuple(release.Step(name, name) for name in ("first", "second", "third"))
    asked = []

    def run(step, work, data, seconds):
        asked.append((step.name, seconds))
        done = step.name != "third"
        if done:
            release.ended(work, step).parent.mkdir(exist_ok=True)
            release.ended(work, step).touch()
        return done

    monkeypatch.setattr(release, "STEPS", steps)
    monkeypatch.setattr(release, "run", run)
    monkeypatch.setattr(release, "used", lambda: 20.0)
    words = ["release", "--work", str(tmp_path), "--data", str(tmp_path), "--minutes", "1"]
    monkeypatch.setattr(sys, "argv", words)
    release.main()
    assert asked == [("first", 40.0), ("second", 40.0), ("third", 40.0)]
    assert capsys.readouterr().out.endswith("2 of 3 steps have ended\nnext: third\n")
    release.main()
    assert asked[3:] == [("third", 40.0)]
    monkeypatch.setattr(release, "used", lambda: 60.0)
    release.main()
    assert len(asked) == 4


def test_a_step_that_is_stopped_by_its_budget_has_not_ended_and_a_failure_is_said(tmp_path):
    with pytest.raises(ValueError, match="wrong failed: no_such_program"):
        release.run(release.Step("wrong", "no_such_program"), tmp_path, tmp_path, None)
    assert not (tmp_path / "ended").exists()
