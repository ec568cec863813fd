"""Intervals over streams by hand, the two rules of the advice, and README that follows them."""

from __future__ import annotations

from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import which_editor


def rows_of(shares: dict[str, float]) -> list[dict]:
    """Three streams of twenty facts: all editors are alike, but for some shares of rewordings."""
    rows = []
    for name in ("base", *runs_14.LINES):
        share = shares.get(name, 0.5)
        marks = [1.0] + [1.0] * round(20 * share) + [0.0] * round(20 * (1 - share))
        cases = dict.fromkeys(runs_14.COLUMNS.values(), {"generation": [1.0] * 21})
        cases["generalization"] = {"generation": marks}
        rows += [
            {"line": name, "seed": seed, "cases": cases, "turns": [12.0]} for seed in (1, 2, 3)
        ]
    return rows


def test_the_streams_narrow_and_the_hundred_edits_decide(monkeypatch):
    every = dict.fromkeys(runs_14.LINES, [0.5, 0.5])
    hundred = {
        "retention": every | {"MEMIT": [0.9, 0.6], "FT-M": [1.0, 1.0]},
        "generalization": every | {"EMMET": [0.9, 0.9]},
        "same_relation": every,
        "locality": every,
    }
    monkeypatch.setattr(which_editor, "hundred", lambda metric="retention": hundred[metric])
    rows = rows_of({"MEMIT": 1.0, "EMMET": 0.95, "FT-M": 0.2})
    found = {one.need: one for one in which_editor.advice(rows)}
    reworded = found["weights are written, rewordings follow"]
    assert (reworded.name, reworded.alike) == ("EMMET", ["MEMIT"])  # FT-M is beaten in the streams
    assert found["weights are written, neighbors stay"].name == "FT-M"
    assert found["a note in front of the prompt is allowed"].alike == []
    for row in rows:
        if row["line"] == "EMMET":  # who holds less than most is not advised
            row["cases"] = row["cases"] | {"efficacy": {"generation": [0.0] * 21}}
    found = {one.need: one for one in which_editor.advice(rows)}
    assert found["weights are written, rewordings follow"].name == "MEMIT"


def test_the_hundred_edits_are_those_of_the_arena():
    held = which_editor.hundred()
    assert set(runs_14.LINES) - set(held) == {"ROME, published"}
    assert held["LEMoE"] == [0.98, 0.93] and len(which_editor.hundred("locality")["MEMIT"]) == 1


def test_readme_has_the_advice_of_page_14():
    readme = (which_editor.ROOT / "README.md").read_text(encoding="utf-8")
    assert which_editor.in_readme(readme) == which_editor.section(runs_14.stored())
    assert len(which_editor.NEEDS) <= 8
