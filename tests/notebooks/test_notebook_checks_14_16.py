"""What notebooks 14 to 16 read and draw is what was stored."""

from __future__ import annotations

from notebooks.support import figures
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_15_judging as runs_15
from notebooks.support import runs_16_at_scale as runs_16


def test_tables_of_scale_are_those_of_the_benchmarks():
    one, two = runs_16.processes()
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["CPU seconds of reading, each"].count(" and ") == 1
    longest = max(runs_16.read("million").values(), key=lambda run: run["edits"])
    edits = [int(row["edits so far"].replace(",", "")) for row in runs_16.constant(longest)]
    assert edits == sorted(edits) and edits[-1] == longest["edits"]
    steps = runs_16.memory_of_steps()
    assert steps[0]["step"] == "load" and steps[0]["memory of the process, GB"] < 1
    assert {row["step"] for row in steps} >= {"ultraedit", "C", "rome"}


def test_a_stream_has_the_facts_that_it_says():
    cases = runs_14.cases()
    assert len({case.fact.text for case in cases}) == len(cases) == runs_14.STREAM["edits"]
    assert cases[0].fact.subject == "The Eiffel Tower" and all(c.id % 2 for c in cases[1:])
    assert all(len(case.locality) == 1 and len(case.paraphrases) <= 2 for case in cases)
    assert runs_15.present([1.0, None, 0.0]) == [1.0, 0.0]


def last_row(name: str, **shares: list[float]) -> dict:
    """The end of a line: one value per case and event, the same cases under each metric."""
    metrics = ("efficacy", "retention", "generalization", "specificity", "locality")
    found = dict(zip(runs_15.EVENTS, shares.values(), strict=True))
    return {"line": name, "edits": 24, "cases": dict.fromkeys(metrics, found)}


def test_editors_stand_in_the_order_of_the_settings_and_in_their_family_in_that_of_generation():
    even = [0.5, 0.5]
    rows = [
        last_row("retrieval", a=even, b=even, c=[1.0, 1.0], d=even),
        last_row("MEMIT", a=[1.0, 1.0], b=even, c=[0.0, 0.0], d=even),
        last_row("EMMET", a=[1.0, 0.5], b=even, c=[0.0, 0.5], d=even),
        last_row("LoRA", a=even, b=even, c=[0.0, 1.0], d=even),
        last_row("base", a=even, b=even, c=even, d=even),
        {"line": "GRACE", "edits": 4},  # a line that is not done
    ]
    assert list(runs_14.ends(rows)) == ["base", "MEMIT", "EMMET", "LoRA", "retrieval"]
    names, found = runs_15.by_event(rows, "specificity")
    assert names == ["base", "EMMET", "MEMIT", "LoRA", "retrieval"]
    assert [mean for mean, _, _ in found["generation"]] == [50, 25, 0, 50, 100]
    count = runs_15.turned(rows, "specificity", "probability", "generation")
    assert count == {"pairs": 6, "turned": 5, "broken": 0, "surely": 0}


def test_panels_hold_one_axes_per_editor():
    figure = figures.rasters([4, 8], {"a": ["1101", "11010101"]}, "edits", "edit")
    assert sum(ax.axison for ax in figure.axes) == 1
    figure = figures.whiskers(["a", "b"], {"x": [(50, 40, 60), (20, 10, 30)]}, "%")
    assert len(figure.axes[0].get_yticklabels()) == 2
