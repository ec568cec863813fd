"""The checks of notebooks 14 to 16 name each mistake, and can be solved; readers count right."""

from __future__ import annotations

import torch

import lib
from notebooks.support import checks_16_at_scale as checks_16
from notebooks.support import figures, models
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_15_judging as runs_15
from notebooks.support import runs_16_at_scale as runs_16


def solve(G, M, strength):
    return torch.linalg.solve(G + strength * torch.eye(len(G)).double(), M.T).T


def together(parts, strength, how=sum, times=1):
    G, M = how([k @ k.T for k, _ in parts]), how([r @ k.T for k, r in parts])
    return solve(G, M, times * strength)


MERGED = {
    "not attempted": lambda parts, s: "not attempted",
    "has shape": lambda parts, s: together(parts, s).T,
    "solutions do not add": lambda parts, s: sum(solve(k @ k.T, r @ k.T, s) for k, r in parts),
    "a mean of solutions": lambda parts, s: torch.stack(
        [solve(k @ k.T, r @ k.T, s) for k, r in parts]
    ).mean(0),
    "λ counts once": lambda parts, s: together(
        parts, s, how=lambda some: torch.stack(list(some)).mean(0)
    ),
    "off by": lambda parts, s: 0 * together(parts, s),
    "solved": together,
}


def test_the_check_of_edits_per_hour_measures(monkeypatch):
    lm, clock = models.load("tiny"), iter([0.0, 8.0] * 9)
    monkeypatch.setattr(checks_16, "perf_counter", lambda: next(clock))
    made = type("Made", (), {"edit": lambda self, facts: None})
    monkeypatch.setitem(lib.EDITORS, "ultraedit", lambda lm: made())
    wanted = {  # one second per fact: 3,600 per hour
        None: "not attempted",
        -1: "above 0",
        4000: "solved",
        1.0: "is that per hour",
        450: "a turn or a fact",
        60: "minutes",
        13_000: "too much by 3.6",
    }
    for estimate, word in wanted.items():
        assert word in checks_16.edits_per_hour(lm, estimate), estimate


def test_a_shape_counts_the_weights_of_a_model():
    lm = models.load("tiny")
    shape = runs_16.shape_of(lm)
    blocks = sum(p.numel() for block in lm.blocks for p in block.parameters() if p.ndim == 2)
    assert shape.layers * shape.block == blocks
    whole = runs_16.search(shape, 0, replay=False)
    assert runs_16.search(shape, 1) < runs_16.search(shape, 0) < whole
    assert not shape.tied  # the embeddings and the head are two matrices, and count twice
    assert shape.weights == sum(p.numel() for p in lm.model.parameters() if p.ndim == 2)
    large = runs_16.SHAPES["8B (Llama 3)"]
    assert round(large.weights / 1e9, 2) == 8.03
    assert round(runs_16.SHAPES["7B (Llama 2)"].weights / 1e9, 2) == 6.74
    sizes = runs_16.kept(shape, [10, 1000])
    assert all(0 < few <= many for few, many in sizes.values())
    same = round(runs_16.crossing(large, "GRACE"))
    assert abs(runs_16.kept(large, [same])["GRACE"][0] - 2 * large.weights / 1e9) < 1e-3


def test_who_waits_for_memory_is_who_does_little_with_a_byte():
    rows = runs_16.waits(runs_16.SHAPES["8B (Llama 3)"])
    slower = ["memory" if r["reading weights, ms"] > r["arithmetic, ms"] else "arithmetic"
              for r in rows]  # fmt: skip
    assert [row["waits for"] for row in rows] == slower
    assert set(slower) == {"memory", "arithmetic"}


def test_tables_of_scale_are_those_of_the_benchmarks():
    one, two = runs_16.processes()
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["CPU seconds of reading, each"].count(" and ") == 1
    edits = [int(row["edits so far"].replace(",", "")) for row in runs_16.constant()]
    assert edits == sorted(edits) and edits[-1] == runs_16.made_up_streams()[-1]["edits"]
    steps = runs_16.memory_of_steps()
    assert steps[0]["step"] == "load" and steps[0]["memory of the process, GB"] < 1
    assert {row["step"] for row in steps} >= {"ultraedit", "C", "rome"}
    assert runs_16.on_a_card()  # a table, or a sentence


def test_the_parts_of_a_turn_add_up_to_it():
    editor = lib.EDITORS["ultraedit"](models.load("tiny"))
    facts = [case.fact for case in lib.classroom()[:2]]
    *parts, whole = runs_16.profile(editor, facts, lib.EMPTY)
    assert abs(sum(row["seconds"] for row in parts) - whole["seconds"]) < 1e-6
    assert all(row["seconds"] >= 0 for row in parts) and parts[0]["calls"] >= 1


def test_a_stream_counts_what_it_says():
    rows = [{"line": "x", "edits": 2, "right": "11"}, {"line": "x", "edits": 4, "right": "0111"}]
    assert runs_14.share(rows[-1]["right"]) == 0.75
    assert len(runs_14.turns(rows, "x")) == 2 and not runs_14.turns(rows, "y")
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


def test_stored_lines_can_be_played():
    says = dict.fromkeys(runs_14.probes(runs_14.cases()), "so")
    words = {"neighbors": [1, 2], "unrelated": [3, 4]}
    row = {"line": "GRACE", "edits": 4, "right": "1110", "says": says, "next": words}
    rows = [row | {"line": "base", "edits": 0}, row, row | {"edits": 8, "right": "11101111"}]
    player = runs_14.widgets.CurvePlayer(runs_14.played(rows), edits=4)
    assert player.values["line"] == "GRACE" and "held 75.0" in player.view.text
    assert [line["says"] for line in player.rows] == ["so"] * len(says)


def test_panels_hold_one_axes_per_editor():
    figure = figures.rasters([4, 8], {"a": ["1101", "11010101"]}, "edits", "edit")
    assert sum(ax.axison for ax in figure.axes) == 1
    figure = figures.whiskers(["a", "b"], {"x": [(50, 40, 60), (20, 10, 30)]}, "%")
    assert len(figure.axes[0].get_yticklabels()) == 2
