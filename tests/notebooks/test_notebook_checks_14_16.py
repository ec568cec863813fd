"""What notebooks 14 to 16 read and draw is what was stored."""

from __future__ import annotations

import lib
from notebooks.support import drawings_14, figures
from notebooks.support import runs_14_lifelong as runs_14


def test_a_stream_has_the_facts_that_it_says():
    cases = runs_14.cases()
    assert len({case.fact.text for case in cases}) == len(cases) == runs_14.EDITS
    assert cases[0].fact.subject == "The Eiffel Tower" and all(c.id % 2 for c in cases[1:])
    assert all(len(case.locality) == 1 and len(case.paraphrases) <= 2 for case in cases)


def test_values_are_read_without_the_tower_and_editors_stand_in_the_order_of_the_settings():
    found = {"generation": [1.0, None, 0.0], "probability": [1.0, 1.0, 1.0]}
    cases = dict.fromkeys(runs_14.COLUMNS.values(), found)
    names = (*reversed(runs_14.LINES), "base")
    rows = [{"line": name, "seed": seed, "cases": cases} for seed in (2, 1) for name in names]
    rows[0]["cases"] = cases | {"specificity": {"generation": [0.0, 1.0, 1.0]}}
    shown = runs_14.streams(rows, "neighbors")
    assert [*shown] == ["base", *runs_14.LINES]
    assert shown["base"] == [[0.0], [0.0]] and shown[names[0]] == [[0.0], [1.0, 1.0]]
    assert runs_14.values(rows[1], "held", "probability") == [1.0, 1.0]


def test_every_editor_stands_in_one_family_and_in_the_streams_once():
    families = [name for members in runs_14.FAMILIES.values() for name in members]
    assert sorted(families) == sorted(runs_14.LINES)
    assert {editor for editor, _ in runs_14.LINES.values()} == set(lib.EDITORS)


def test_figures_have_a_row_for_each_editor_and_the_dots_of_its_streams():
    values = {name: [10.0, 30.0] for name in runs_14.LINES}
    one = drawings_14.by_editor({"held (%)": {"a stream": values}}, runs_14.FAMILIES, "%")
    assert [label.get_text() for label in one.axes[0].get_yticklabels()][:2] == [
        "ROME",
        "ROME, published",
    ]
    dots = [line.get_xdata() for line in one.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == len(values) and list(dots[0]) == [10.0, 30.0]
    two = {"held (%)": {"here": values, "there": {"ROME": [50.0]}}}
    figure = drawings_14.by_editor(two, runs_14.FAMILIES, "%")  # who lacks a series has one dot
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert len(marks) == 1 and marks[0].get_xdata() == [50.0]
    figure = drawings_14.ranking(
        {"a": [1.0], "b": [3.0]}, {"the solution": ["b"], "yours": []}, "x"
    )
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]


def test_panels_hold_one_axes_per_editor():
    figure = figures.rasters([4, 8], {"a": ["1101", "11010101"]}, "edits", "edit")
    assert sum(ax.axison for ax in figure.axes) == 1
    ends = {(bar.get_x(), bar.get_x() + bar.get_width()) for bar in figure.axes[0].patches}
    assert ends == {(0, 4), (4, 8)}  # a turn's column begins where the turn before it ended
    figure = figures.whiskers(["a", "b"], {"x": [(50, 40, 60), (20, 10, 30)]}, "%")
    assert len(figure.axes[0].get_yticklabels()) == 2
