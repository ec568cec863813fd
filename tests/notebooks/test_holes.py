"""Holes of pages: open, right, wrong, and filled from the student's file."""

from __future__ import annotations

import pytest
import torch

import lessons.l2_1_insert as exercise
from lessons.grading.exercise_source import exercises
from notebooks.support import holes


def insert(W, k, v, C):
    """W (d_out, d_in), k (d_in,), v (d_out,), C (d_in, d_in) -> the new W."""
    ...


def right(W, k, v, C):
    u = torch.linalg.solve(C, k)
    return W + torch.outer(v - W @ k, u / (k @ u))


def wrong(W, k, v, C):
    return W + torch.outer(v - W @ k, k) / (k @ k)


def broken(W, k, v, C):
    return W / len(k @ k)


for function in (right, wrong, broken):  # as they would stand in a cell
    function.__name__, function.__code__ = "insert", function.__code__.replace(co_name="insert")


def used(function, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(holes, "MY", tmp_path / "my")
    return holes.use("2.1", function), capsys.readouterr().out


def test_an_open_hole_runs_with_the_solution(capsys, tmp_path, monkeypatch):
    found, said = used(insert, capsys, tmp_path, monkeypatch)
    assert found is exercise.insert
    assert said == "2.1 is still open: the page goes on with the solution.\n"
    assert not (tmp_path / "my").exists()


def test_a_mistake_is_named(capsys, tmp_path, monkeypatch):
    found, said = used(wrong, capsys, tmp_path, monkeypatch)
    assert found is exercise.insert and "Where is C?" in said and said.startswith("2.1 ✗")
    found, said = used(broken, capsys, tmp_path, monkeypatch)
    assert found is exercise.insert and "TypeError at “return W" in said


def test_what_is_right_goes_on_and_can_be_handed_in(capsys, tmp_path, monkeypatch):
    found, said = used(right, capsys, tmp_path, monkeypatch)
    assert found is right and said.startswith("2.1 ✓ solved")
    file = tmp_path / "my" / "l2_1_insert.py"
    assert "u / (k @ u)" in file.read_text() and file.read_text().startswith('"""★ Write one pair')


def test_what_was_handed_in_fills_the_page(capsys, tmp_path, monkeypatch):
    file = tmp_path / "my" / "l2_1_insert.py"
    file.parent.mkdir()
    file.write_text(exercises("2.1")[0].solution)
    found, said = used(insert, capsys, tmp_path, monkeypatch)
    assert found.__code__.co_filename == str(file) and "✓" in said
    file.write_text(exercises("2.1")[0].stub)
    assert used(insert, capsys, tmp_path, monkeypatch)[0] is exercise.insert
    file.write_text("def insert(:")
    assert "SyntaxError" in used(insert, capsys, tmp_path, monkeypatch)[1]


HOLES = {"1.1": ["fit"], "1.2": ["outer_memory"], "1.3": ["whitened_cosines"]}
HOLES |= {"1.4": ["answer_kl"], "1.5": ["ranks"]}
HOLES |= {"2.3": ["published"], "2.5": ["search_loss"], "4.3": ["scores"]}
HOLES |= {"3.1": ["interference"], "3.3": ["tails", "forecast"]}
HOLES |= {"4.1": ["corrupt", "put_back"], "4.2": ["trace"]}
HOLES |= {"5.1": ["memit"], "5.3": ["place"], "5.4": ["turn"], "5.5": ["spread"]}
HOLES |= {"6.1": ["moved"], "6.2": ["settle"], "6.3": ["turn", "at_zero"], "6.4": ["learn"]}
HOLES |= {"7.1": ["margin_step"], "7.2": ["write"], "7.3": ["ties"], "7.4": ["refit_loss"]}
HOLES |= {"8.1": ["events"], "8.2": ["wilson"], "8.3": ["shares"]}
HOLES |= {"8.4": ["paired"], "8.5": ["coverage"]}
HOLES |= {"10.1": ["rounded"], "10.2": ["gives"], "10.3": ["held_out"]}
HOLES |= {"10.4": ["multiply_adds"], "10.5": ["roof"], "10.6": ["merged"]}


@pytest.mark.parametrize(("number", "name"), [(n, name) for n in HOLES for name in HOLES[n]])
def test_a_hole_takes_what_the_exercise_takes(number, name, capsys, tmp_path, monkeypatch):
    def hole(): ...

    hole.__name__ = name
    monkeypatch.setattr(holes, "MY", tmp_path)
    exercise = exercises(number)[0]
    file = tmp_path / exercise.path.name
    file.write_text(exercise.solution)  # 2.3 returns a tuple, which the grader sends as a list
    assert holes.use(number, hole).__code__.co_filename == str(file)
    assert f"{number} ✓" in capsys.readouterr().out


def test_a_guess_is_kept_and_stands_beside_the_result(capsys):
    mine = holes.guess("How many of 30?", 0, 30)
    assert "from 0 to 30: type it in below, as `mine.number = …`" in capsys.readouterr().out
    mine.against(7)
    assert capsys.readouterr().out == "How many of 30? No guess was typed, found 7.\n"
    mine.number = "12,5"
    mine.against(7)
    assert capsys.readouterr().out == "How many of 30? Your guess 12.5, found 7.\n"
    for typed in (31, "many", float("nan")):
        with pytest.raises(ValueError, match="from 0 to 30, not"):
            mine.number = typed
    assert mine.number == 12.5


def test_a_guess_is_typed_into_a_field(monkeypatch):
    shown = []
    monkeypatch.setattr(holes, "live", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    mine = holes.guess("How many of 30?", 0, 30)
    field, said = shown[0].children[1].children
    field.value = "many"
    assert mine.number is None and "not 'many'" in said.value
    field.value = "8"
    assert mine.number == 8 and said.value.startswith("Kept")
