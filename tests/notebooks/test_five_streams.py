"""Intervals over streams by hand, a run that goes on where it was stopped, README and page 14."""

from __future__ import annotations

import pytest

import lib
from notebooks.support import five_streams, which_editor


def test_the_interval_over_streams_is_the_wider_of_two():
    # all means are 0.5: Student alone would have no width
    low, high = five_streams.interval([[1.0, 0.0] * 12] * 5)
    assert low < 0.43 and high > 0.57
    apart = [[x] * 24 for x in (0.0, 1.0, 0.0, 1.0, 1.0)]
    half = 2.776 * (sum((x - 0.6) ** 2 for x, *_ in apart) / 4) ** 0.5 / 5**0.5
    assert five_streams.interval(apart) == (0.0, 1.0) and half > 0.6
    gaps = [[x - 0.5 for x in stream] for stream in apart]
    assert five_streams.interval(gaps, (-1.0, 1.0)) == pytest.approx((0.1 - half, 0.1 + half))


def test_a_run_of_five_streams_goes_on_where_it_was_stopped(monkeypatch, tmp_path):
    monkeypatch.setitem(five_streams.STREAMS, "lines", ["retrieval", "GRACE"])
    monkeypatch.setitem(five_streams.STREAMS, "seeds", [1, 2])
    monkeypatch.setattr(lib, "baseline", lambda lm, cases, **settings: None)
    monkeypatch.setattr(five_streams, "base", lambda known, seed: {"line": "base", "seed": seed})
    written = []

    def one(lm, name, seed, known):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append((name, seed))
        return {"line": name, "seed": seed}

    monkeypatch.setattr(five_streams, "one", one)
    with pytest.raises(KeyboardInterrupt):
        five_streams.every(None, folder=tmp_path)
    stopped = list(written)
    written.clear()
    rows = five_streams.every(None, folder=tmp_path)
    assert written == [("GRACE", 2)] and stopped[-1] == ("GRACE", 1)
    assert [row["line"] for row in rows] == ["base"] * 2 + ["retrieval"] * 2 + ["GRACE"] * 2


def test_values_of_a_stream_are_read_without_the_tower():
    found = {"generation": [1.0, None, 0.0], "probability": [1.0, 1.0, 1.0]}
    rows = [
        {"line": "GRACE", "seed": i, "cases": {"specificity": found, "efficacy": {}}}
        for i in range(5)
    ]
    assert five_streams.by_stream(rows, "neighbors") == {"GRACE": [[0.0]] * 5}
    assert five_streams.by_stream(rows, "neighbors", "probability") == {"GRACE": [[1.0] * 2] * 5}
    assert five_streams.by_stream(rows[:4], "neighbors") == {}


def test_readme_has_the_advice_of_page_14():
    readme = (which_editor.ROOT / "README.md").read_text(encoding="utf-8")
    assert which_editor.in_readme(readme) == which_editor.stored()
    assert len(which_editor.ADVICE) == 8
