"""What notebooks 03, 04 and 05 share with nobody, their drawings, and stored runs made again."""

from __future__ import annotations

import pytest
import torch

from notebooks import build
from notebooks.support import (
    drawings_03,
    drawings_04,
    drawings_05,
    figures,
    long_runs,
    models,
    stored_runs,
)


def test_the_beginning_of_a_stored_run_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_runs, "DATA", tmp_path)
    stored_runs.save("99_run", {"n": 2}, ({"x": i / 2} for i in range(2)), folder=tmp_path)
    rows = long_runs.rows("99_run")
    assert rows == [{"x": 0.0}, {"x": 0.5}]

    monkeypatch.setenv("EDIT_SCALE", "small")
    assert long_runs.repeats(rows, lambda: [{"x": 0.01}], tolerance=0.02) == [{"x": 0.01}]
    with pytest.raises(AssertionError, match="row 0, x"):
        long_runs.repeats(rows, lambda: [{"x": 0.3}])
    monkeypatch.setenv("EDIT_MODEL", "another")  # the code runs, the numbers differ
    assert long_runs.repeats(rows, lambda: [{"x": 0.3}]) == [{"x": 0.3}]
    monkeypatch.delenv("EDIT_MODEL")
    monkeypatch.setenv("EDIT_SCALE", "tiny")
    assert long_runs.repeats(rows, lambda: [{"x": 0.3}]) == [{"x": 0.3}]


def test_another_model_takes_the_place_of_the_library_s_own(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(models.lib, "load", lambda name, sink="own": asked.append((name, sink)))
    monkeypatch.setenv("EDIT_MODEL", "")
    models.load("small")
    assert not capsys.readouterr().out
    monkeypatch.setenv("EDIT_MODEL", "gemma-3-270m")
    models.load("small")
    assert "EDIT_MODEL=gemma-3-270m: what is computed here is" in capsys.readouterr().out
    assert (
        asked == [(None, None), ("gemma-3-270m", None)]
        and models.load("tiny").name == "random-llama"
    )
    assert build.environment("small")["EDIT_MODEL"] == "", "stored notebooks are of the default"


def test_two_results_are_the_same_up_to_a_share_of_their_length():
    lm, b = models.load("tiny"), torch.ones(4)
    models.same(lm, b + 1e-5, b)
    with pytest.raises(AssertionError, match="differ by 0.1"):
        models.same(lm, 1.1 * b, b)


def test_the_drawings_are_figures():
    tokens = ["The", " Eiffel", " Tower", " is", " in"]
    steps = {"fixed": [(0.5, 0.25)] * 2, "rest": [(0.5, 0.25), (0.75, 0.375)]}
    two = {"IE": {"MLPs": [([1, 2], [0.1, 0.2]), ([1, 2], [0.3, 0.4])], "one": [([2], [1.0])]}}
    drawn = [
        drawings_03.three_runs(tokens, (0, 2), (1, 1), (0.7, 0.01, 0.3)),
        figures.curves(two, "layer", mean=True, mark=2),
        figures.curves(two, "layer", "IE", log=["IE"], xlog=True, best=True),
        drawings_04.rome(tokens, at=2, layer=3),
        drawings_04.shares({"a": {"mean": [1.0, 0.5, -0.1]}}, {"Rome": ([0.5, 1], [0.1, 0.9])}, 2),
        drawings_04.along([(tokens, [0.0] * 5), (tokens, [1.0] * 5)], ["forward", "backward"]),
        figures.dots({"neighbors (%)": {"before": [80, 90], "after": [70, 85]}}, ["a", "b"]),
        drawings_05.weigh(["a"], [2.0], {"x": lambda _: [0.5]}, lambda _: (0.5, 0.3), 9.0),
        drawings_05.halves(torch.eye(6).numpy()),
        drawings_05.staircase(steps),
    ]
    assert all(figure._repr_png_().startswith(b"\x89PNG") for figure in drawn)
