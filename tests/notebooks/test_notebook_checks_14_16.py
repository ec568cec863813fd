"""What notebooks 14 to 16 read and draw is what was stored."""

from __future__ import annotations

from notebooks.support import figures
from notebooks.support import runs_14_lifelong as runs_14


def test_a_stream_has_the_facts_that_it_says():
    cases = runs_14.cases()
    assert len({case.fact.text for case in cases}) == len(cases) == runs_14.STREAM["edits"]
    assert cases[0].fact.subject == "The Eiffel Tower" and all(c.id % 2 for c in cases[1:])
    assert all(len(case.locality) == 1 and len(case.paraphrases) <= 2 for case in cases)


def test_values_are_read_by_column_and_editors_stand_in_the_order_of_the_settings():
    cases = {"efficacy": {"generation": [1.0, None, 0.0]}, "retention": {"generation": [0.0]}}
    rows = [{"line": name, "cases": cases} for name in ("retrieval", "MEMIT", "base")]
    rows.append({"line": "GRACE", "edits": 4})  # a line that is not done
    assert list(runs_14.ends(rows)) == ["base", "MEMIT", "retrieval"]
    assert runs_14.values(rows[0], "written") == [1.0, 0.0]
    assert runs_14.values(rows[0], "held") == [0.0]
    assert runs_14.values({"cases": {"efficacy": cases["retention"]}}, "held") == [0.0]


def test_panels_hold_one_axes_per_editor():
    figure = figures.rasters([4, 8], {"a": ["1101", "11010101"]}, "edits", "edit")
    assert sum(ax.axison for ax in figure.axes) == 1
    ends = {(bar.get_x(), bar.get_x() + bar.get_width()) for bar in figure.axes[0].patches}
    assert ends == {(0, 4), (4, 8)}  # a turn's column begins where the turn before it ended
    figure = figures.whiskers(["a", "b"], {"x": [(50, 40, 60), (20, 10, 30)]}, "%")
    assert len(figure.axes[0].get_yticklabels()) == 2
