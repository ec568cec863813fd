"""Intervals over streams by hand, the rules of the advice, and README that follows them."""

from __future__ import annotations

from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import which_editor


def rows_of(shares: dict[str, float], **more: dict[str, float]) -> list[dict]:
    """Five streams of twenty facts: all editors are alike, but for some shares of a column."""
    columns = {"reworded": shares, **more}
    rows = []
    for name in ("base", *runs_14.LINES):
        cases = {metric: {"generation": [1.0] * 21} for metric in runs_14.COLUMNS.values()}
        for column, of in columns.items():
            right = round(20 * of.get(name, 1.0))
            cases[runs_14.COLUMNS[column]] = {
                "generation": [1.0] + [1.0] * right + [0.0] * (20 - right)
            }
        rows += [{"line": name, "seed": i, "cases": cases, "turns": [12.0]} for i in range(5)]
    return rows


def test_all_that_fit_and_may_be_best_are_named(monkeypatch):
    every = dict.fromkeys(runs_14.LINES, [0.6, 0.6])
    hundred = {
        "retention": every | {"LoRA": [0.9, 0.0]},
        "same_relation": every | {"MEMIT": [0.9, 0.1]},
        "locality": every | {"FT-M": [0.3]},
    }
    monkeypatch.setattr(which_editor, "hundred", lambda metric="retention": hundred[metric])
    rows = rows_of(
        {"MEMIT": 0.9, "EMMET": 0.9, "FT-M": 1.0, "ROME": 1.0, "LoRA": 1.0} | {"GRACE": 0.1},
        neighbors={"ROME": 0.4},
        held={"WISE": 0.7},
    )
    good = which_editor.fits(rows)
    # ruinous for neighbors or unrelated texts; holds too little of the hundreds or of the streams
    assert not {"ROME", "FT-M", "LoRA", "WISE"} & {*good} and {"MEMIT", "GRACE"} <= {*good}
    found = dict(which_editor.advice(rows))
    rest = [name for name in good if name not in ("MEMIT", "EMMET", "GRACE")]
    assert {*found["rewordings follow"]} == {*rest}  # 1.0 in each stream
    assert "GRACE" not in found["rewordings follow, and no weight changes"]
    assert "MEMIT" not in which_editor.after_a_hundred()
    worst = rows_of({}, held=dict.fromkeys(runs_14.LINES, 0.5))
    assert not any(names for _, names in which_editor.advice(worst))
    assert which_editor.lines(worst)[0]["editors"] == "none fits"


def test_the_hundred_edits_are_those_of_the_arena():
    held = which_editor.hundred()
    assert set(runs_14.LINES) - set(held) == {"ROME, published"}
    assert held["LEMoE"] == [0.98, 0.93] and len(which_editor.hundred("locality")["MEMIT"]) == 1


def test_readme_has_the_advice_of_page_14():
    readme = (which_editor.ROOT / "README.md").read_text(encoding="utf-8")
    assert which_editor.in_readme(readme) == which_editor.section(runs_14.stored())
    assert len(which_editor.NEEDS) <= 8
