"""The stress test, the looks inside, and what is taken home: without Gradio, on a random model."""

from __future__ import annotations

import gzip
import json
import re
import threading
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import lib
from demo_app.html import render
from demo_app.inside import key_overlap, layers_of_a_fact, panel, ranks_and_changes
from demo_app.lifelong import figures, run, stress_test
from demo_app.session import links, subject_in_view, take_away, uploads
from demo_app.session.choices import BASELINES, TICKED
from demo_app.session.long_run import LongRun
from demo_app.session.visitors import Session
from demo_app.session.worker import Stopped, Trouble
from lib.evaluation.intervals import interval
from lib.interpret.logit_lens import lens

from ..support.page import WORDS, cases, edited, through

pytestmark = pytest.mark.usefixtures("more_strong_settings")


# ---- the stress test


def test_the_stress_test_measures_every_line(studio):
    test = stress_test.plan(studio.choices, ["grace"], cases(), 4, 2)
    assert [line.editor for line in test.lines] == ["retrieval", "ft", "grace"]
    assert test.ends == test.points == [2, 4]
    chain = LongRun(studio, Session())
    _, seen = through(run.run(chain, test))
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares) and 0 <= shares[0] and shares[-1] <= 1
    ft, grace = test.lines[1:]
    assert [point.edits for point in ft.points] == [2, 4] and set(ft.first) == set(range(4))
    assert ft.points[0].change > 0 and grace.points[0].change == 0
    assert ft.points[0].retention == ft.efficacy(2) > 0, "the first batch was just asked"
    assert grace.points[-1].perplexity == pytest.approx(test.base.perplexity, rel=1e-4)
    asked = figures.states(test, ft) > 0
    assert asked.tolist() == [[True, True]] * 2 + [[False, True]] * 2, "once it is written"
    listed = figures.rows(test)
    assert [row[0] for row in listed] == ["before any edit", "Retrieval", "FT", "GRACE"]
    assert all(len(row) == len(figures.HEADS) for row in listed)
    numbers = dict(zip(figures.HEADS, listed[2], strict=True))
    assert numbers["Edits"] == "4" and numbers["Efficacy"].startswith(
        f"{100 * ft.efficacy(4):.0f} % ["
    )
    low, high = interval([float(right) for right in ft.points[-1].right.values()])
    between = f"[{100 * low:.0f}, {100 * high:.0f}]"
    assert numbers["Retention"] == f"{100 * ft.points[-1].retention:.0f} % {between}"
    assert numbers["‖ΔW‖/‖W₀‖"] == f"{100 * ft.points[-1].change:.2f} %"
    told = dict(figures.words(test))
    still = sum(ft.points[-1].right.values())
    assert list(told) == ["Retrieval", "FT", "GRACE"]
    assert told["FT"].startswith(f"after 4 edits {still} of 4 facts are still said")
    rows = figures.sheet(test).splitlines()
    assert rows[0].startswith("editor,edits,efficacy") and len(rows) == 2 + 3 * 2
    first = rows[1 + 1 + 2].split(",")
    assert first[:3] == ["ft", "2", str(ft.efficacy(2))]
    assert float(first[5]) == ft.points[0].perplexity
    for draw in figures.curves, figures.raster:
        assert draw(test)._repr_png_().startswith(b"\x89PNG")


def test_a_stopped_test_keeps_what_is_done(studio):
    session = Session()
    test = stress_test.plan(studio.choices, [], cases(), 4, 1)
    chain = LongRun(studio, session)
    with pytest.raises(Stopped):
        for _ in run.run(chain, test):
            if test.lines[1].points:
                session.stop()
    chain.close()
    assert len(test.lines[1].points) == 1 and test.lines[1].edits == 1
    assert figures.sheet(test).count("\n") >= 3
    assert not any(block._forward_pre_hooks for block in studio.lm.blocks)


def test_that_it_was_stopped_is_said_before_all_is_drawn(studio, monkeypatch):
    gr = pytest.importorskip("gradio")
    from demo_app.tabs import lifelong, long_runs

    drawn, visitor = [], SimpleNamespace(session_hash="in a hurry")
    monkeypatch.setattr(lifelong, "shown", lambda test: drawn.append(1) or tuple("abcde"))
    monkeypatch.setattr(lifelong, "REDRAW", 0.0)
    monkeypatch.setattr(long_runs, "EVERY", 0.0)
    with gr.Blocks():
        tab = lifelong.Lifelong(studio)
    stopped = render.sorry("Stopped.")
    for outputs in tab.run([], 4, 1, None, visitor):
        if outputs[0] == stopped:
            break
        if drawn:
            tab.running.stop(visitor, "test")
    assert drawn and outputs[0] == stopped and outputs[4] == gr.skip()


def test_others_are_served_between_the_steps_of_a_test(studio):
    test = stress_test.plan(studio.choices, [], cases(), 4, 1)
    served = threading.Event()
    steps = run.run(LongRun(studio, Session()), test)
    next(steps)
    studio.worker.submit(lambda job: served.set())
    for _ in steps:
        if served.is_set():
            break
    assert served.is_set() and not test.lines[1].points, "long before the test is over"
    steps.close()


def test_a_line_that_fails_ends_and_the_others_go_on(studio):
    some = cases(3)
    some[1] = replace(some[1], fact=lib.Fact("w" * 300, "{} is", "xy"))  # too long for the model
    test = stress_test.plan(studio.choices, [], some, 3, 1)
    through(run.run(LongRun(studio, Session()), test))
    assert "exceeds the context" in test.lines[1].error
    assert [point.edits for point in test.lines[1].points] == [1]
    assert f"FT ended early: {test.lines[1].error}" in figures.ended(test)


def test_collapse_is_the_first_point_that_is_not_the_model_any_more(studio):
    test = stress_test.plan(studio.choices, [], cases(), 4, 2)
    line, right = test.lines[1], {0: True}
    kept = {n: (True,) * n + (False,) * (10 - n) for n in (8, 5, 3)}  # of ten neighbors
    test.base = stress_test.Point(0, {}, kept[8], 10.0, 0.0)
    line.points = [
        stress_test.Point(2, right, kept[5], 19.0, 0.1),
        stress_test.Point(4, right, kept[3], 19.0, 1),
    ]
    assert test.collapse(line) == (4, "fewer than half of the neighbors that were right still are")
    line.points[0] = replace(line.points[0], perplexity=float("nan"))
    assert test.collapse(line)[0] == 2 and "perplexity" in test.collapse(line)[1]
    assert figures.curves(test)._repr_png_()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((["magic"], 4, 2), "does not run"),
        ((["wilke"], 4, 2), "does not run"),
        ((["ft_l", "ft_m", "grace", "ultraedit"], 4, 2), "too many at once"),
        ((["rome"], 30, 2), "with ROME among the editors"),
        (([], 41, 2), "too many"),
        (([], 4, 5), "larger than the stream"),
        (([], None, 2), "whole number"),
        (([], 4, 0), "whole number"),
    ],
)
def test_bounds_are_told_in_one_sentence(studio, given, said):
    editors, edits, batch = given
    with pytest.raises(Trouble, match=said) as error:
        stress_test.plan(studio.choices, editors, cases(), edits, batch)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_slow_editor_is_not_offered_and_fast_ones_are_named(studio):
    offered = stress_test.offered(studio.choices)
    assert offered["grace"] == "GRACE (fast)" and offered["rome"] == "ROME"
    assert "wilke" not in offered and not set(BASELINES) & set(offered)
    assert set(TICKED) <= set(offered)


def test_a_visitor_has_few_long_runs_and_leaving_ends_them(studio):
    session = Session()
    first, second = LongRun(studio, session), LongRun(studio, session)
    with pytest.raises(Trouble, match="Two long runs"):
        LongRun(studio, session)
    first.close()
    LongRun(studio, session)
    session.stop()
    assert second.stopped
    with pytest.raises(Stopped):
        next(second.do(lambda job: None))


# ---- files that visitors bring


def test_uploaded_data_is_read_in_any_known_format_and_bounded(tmp_path, monkeypatch):
    row = {"prompt": "{} is", "target_new": "xy", "target_true": "b", "paraphrases": [],
           "neighborhood": [], "locality": []}  # fmt: skip
    rows = [{"subject": word, **row} for word in WORDS]
    plain, packed = tmp_path / "a.json", tmp_path / "a.json.gz"
    plain.write_text(json.dumps(rows))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in plain, packed:
        found = uploads.read_cases(path, path.name, 3)
        assert [case.fact.subject for case in found] == list(WORDS[:3])
    plain.write_text('[{"a": 1}]')
    with pytest.raises(Trouble, match="no known format") as error:
        uploads.read_cases(plain, "mine.json", 3)
    assert str(tmp_path) not in str(error.value) and "/" not in str(error.value).split("known")[0]
    monkeypatch.setattr(uploads, "UNPACKED", 10)
    with pytest.raises(Trouble, match="when unpacked"):
        uploads.read_cases(packed, "b.gz", 3)
    packed.write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(Trouble, match="damaged or incomplete"):
        uploads.read_cases(packed, "b.gz", 3)
    monkeypatch.setattr(uploads, "DATA", 5)
    with pytest.raises(Trouble, match="takes files up to"):
        uploads.read_cases(plain, "mine.json", 3)


def changed_header(path: Path, change) -> Path:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["patch"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(header)
    header.pop("sha256")  # a hostile file needs none
    save_file(tensors, path, metadata={"patch": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h["log"][0].update(facts=[], source="/etc/hostname", rows=[0, 1]),
         "opens no file"),
        (lambda h: h["log"][0]["settings"].update(text="/etc/hostname"), "names a file"),
        (lambda h: h["log"][0]["settings"].update(inner=["mend", {"network": "/x"}]),
         "names a file"),
        (lambda h: h["log"][0].update(editor="magic"), "does not know"),
        (lambda h: h.update(base="another model"), "this patch is for another model"),
    ],
)  # fmt: skip
def test_a_hostile_patch_is_refused_and_changes_nothing(studio, tmp_path, change, said):
    path = edited(studio, "xy").patch.save(tmp_path / "p.safetensors")
    session = edited(studio, "qz")
    held = session.patch
    with pytest.raises(Trouble, match=said) as error:
        through(take_away.load(LongRun(studio, session), changed_header(path, change), "p"))
    assert session.patch is held and str(tmp_path) not in str(error.value)


def test_something_else_than_a_patch_is_refused(studio, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"hello")
    with pytest.raises(Trouble, match="mine is no patch file"):
        uploads.read_patch(path, "mine")
    lib.EMPTY.save(path)
    with pytest.raises(Trouble, match="holds no edit"):
        uploads.read_patch(path, "mine")
    monkeypatch.setattr(uploads, "PATCH", 10)
    with pytest.raises(Trouble, match="takes files up to"):
        uploads.read_patch(path, "mine")


# ---- inside the edit


def test_panels_say_what_they_found(studio):
    session = edited(studio, "xy")
    session.view = studio.look(session, studio.choices.subject("alpha", "{} is", "xy")).outcome()
    lines = {}
    for make in ranks_and_changes.ranks, layers_of_a_fact.traced, ranks_and_changes.norms:
        chain = LongRun(studio, session)
        shown, seen = through(make(chain))
        chain.close()
        assert shown.figure._repr_png_().startswith(b"\x89PNG"), make
        assert shown.found.endswith(".") and seen
        lines[make] = shown.lines
    tokens = [line.split(":")[0] for line in lines[layers_of_a_fact.traced]]
    assert tokens == [f"“{letter.strip()}”" for letter in "alpha is"]
    ranks = lines[ranks_and_changes.ranks]  # of the old and the new answer before, then after
    for when, patch, line in ("before", lib.EMPTY, ranks[1]), ("after", session.patch, ranks[3]):
        table = lens(studio.lm, "alpha is", ["xy"], patch)
        each = [f"layer {i} rank {rank:,}" for i, rank in enumerate(table["rank"])]
        assert line == f"“xy” {when}: {', '.join(each)}"
    (changed,) = [line for line in lines[ranks_and_changes.norms] if not line.endswith(" 0.000 %")]
    W, value = studio.lm.weight(studio.lm.mlp_out(2)), session.patch.weights[studio.lm.mlp_out(2)]
    moved = value.dense() if isinstance(value, lib.LowRank) else value - W
    whole = sum(studio.lm.weight(n).norm() ** 2 for n in session.patch.weights) ** 0.5
    assert changed == f"layer 2: {100 * (moved.norm() / whole).item():.3f} %"
    assert "in layer 2; the prompt is “alpha is …”" in panel.about(studio, session)
    assert subject_in_view.layers_of(studio.lm, session.patch) == [2]


def test_the_layer_curve_tries_every_layer(studio, monkeypatch):
    monkeypatch.setattr(lib, "second_moment", lambda lm, layers: None)
    lib.EDITORS["wilke"].Config.preset(studio.lm, "wilke")
    rows = {"wilke": {"any": {"layers": [0, 1], "second_moment": False, "steps": 2,
                              "contexts": []}}}  # fmt: skip
    monkeypatch.setattr("lib.editors.shared.config._presets", lambda: rows)
    shown, _ = through(layers_of_a_fact.wise_layers(LongRun(studio, Session())))
    sizes = [float(line.removesuffix(" %").split(": ")[1]) for line in shown.lines]
    assert [line.split(":")[0] for line in shown.lines] == ["layer 0", "layer 1"]
    best = sizes.index(min(sizes))
    assert shown.found.startswith(f"WilKE would write this fact into layer {best}: ")
    assert f", {min(sizes):.2f} % of the weights." in shown.found


def test_overlaps_name_the_pairs(studio, monkeypatch):
    session = edited(studio, "xy")
    monkeypatch.setattr(
        "lib.interpret.superposition.second_moment",
        lambda lm, layers, among: {layer: identity(lm, layer) for layer in layers},
    )
    shown, _ = through(key_overlap.overlaps(LongRun(studio, session)))
    assert shown.found.startswith(f"Layer 2. The strongest overlap: {shown.lines[0]} of what")
    # the same from the keys themselves: C is the identity here, so ρ is a plain projection
    every = (*session.patch.facts, *(case.fact for case in studio.choices.cases.values()))
    facts, sizes = {fact.subject: fact for fact in every}, []
    for line in shown.lines:
        one, other, value = re.fullmatch(r"“(.+)” on “(.+)” ([+-]\d\.\d\d)", line).groups()
        i, j = studio.lm.keys([facts[one], facts[other]], 2).double().T
        rho = (i @ j / (i @ i)).item()
        assert float(value) == pytest.approx(rho, abs=0.006)
        sizes.append(abs(float(value)))
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True)


def identity(lm, layer):
    return torch.eye(lm.weight(lm.mlp_out(layer)).shape[1])


def test_the_scope_map_counts_hits_by_truth(studio):
    session = edited(studio, "xy", editor="grace")
    session.view = studio.look(session, studio.choices.subject("alpha", "{} is", "xy")).outcome()
    shown, _ = through(key_overlap.scope(LongRun(studio, session)))
    assert shown.found.startswith("1 of 1 prompts that should be answered")
    names = [text.get_text() for text in shown.figure.axes[0].get_yticklabels()]
    assert names[0] == "the edits, and reworded\n1 of 1 answered"
    mistakes = [line for line in shown.lines if line.startswith("answered by mistake: ")]
    assert len(mistakes) == len(shown.lines), "the one prompt that is meant was not missed"
    assert "its radius" in shown.figure.axes[0].texts[0].get_text()


def test_what_a_panel_cannot_show_is_told(studio):
    for make, editor, said in (
        (ranks_and_changes.norms, None, "No edit is live"),
        (ranks_and_changes.norms, "grace", "leave the weights alone"),
        (key_overlap.scope, None, "needs an edit that decides"),
        (key_overlap.scope, "ft", "every prompt"),
    ):
        session = edited(studio, "xy", editor=editor) if editor else Session()
        with pytest.raises(Trouble, match=said):
            through(make(LongRun(studio, session)))
    assert "No edit is live" in panel.about(studio, Session())


def test_layers_are_listed_in_runs():
    assert subject_in_view.listed([3, 4, 5, 9]) == "3–5, 9"


# ---- take away


@pytest.mark.parametrize("kind", ["patch", "adapter", "model"])
def test_files_come_home(studio, tmp_path, kind):
    session = edited(studio, "xy", "qz")
    path, seen = through(take_away.make(LongRun(studio, session), kind, tmp_path))
    assert path.name == f"alpha-and-1-more{take_away.KINDS[kind]}" and path.parent == tmp_path
    if kind == "patch":
        other = Session()
        said, _ = through(take_away.load(LongRun(studio, other), path, "mine.safetensors"))
        assert "2 edits loaded from mine.safetensors (made with ft)" in said
        assert other.patch.facts == session.patch.facts and other.view.live == 1
        assert [row.after for row in other.view.rows][0].startswith(" qz")
        return
    with zipfile.ZipFile(path) as packed:
        names = {Path(name).name for name in packed.namelist()}
    wanted = "adapter_config.json" if kind == "adapter" else "model.safetensors"
    assert {wanted, "README.md"} <= names and len({n.split("/")[0] for n in names})


def test_what_cannot_be_taken_is_told(studio, tmp_path):
    with pytest.raises(Trouble, match="nothing to take away"):
        through(take_away.make(LongRun(studio, Session()), "patch", tmp_path))
    session = edited(studio, "xy", editor="grace")
    with pytest.raises(Trouble, match="cannot be exported as plain weights"):
        through(take_away.make(LongRun(studio, session), "model", tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_code_makes_the_same_edits(studio, capsys, monkeypatch):
    monkeypatch.setattr(lib, "load", lambda: studio.lm)
    for session in edited(studio, "xy"), edited(studio, "xy", "qz"):
        text = take_away.code(studio, session)
        given: dict = {}
        exec(text, given)
        assert given["patch"].facts == session.patch.facts
        assert capsys.readouterr().out.strip().startswith(session.patch.facts[-1].target_new)
    assert "The Eiffel Tower" in take_away.code(studio, Session())
    assert ", lr=0.5).edit(" in take_away._call(
        studio.lm, lib.Edit("ft", {**asdict(lib.EDITORS["ft"](studio.lm).config), "lr": 0.5})
    )


def asked(studio, session) -> dict[str, str]:
    return dict(parse_qsl(links.link(studio.choices, session)[1:]))


def test_a_link_reopens_the_example(studio):
    session = Session()
    assert links.link(studio.choices, session) == "?example=the-eiffel-tower"
    found = links.opened(studio.choices, {"example": "the-eiffel-tower"})
    assert found.label == studio.choices.ready and found.fact[2] == "Rome" and found.ignored is None
    session.view = studio.look(session, studio.choices.subject("alpha", "{} is", "x y")).outcome()
    assert asked(studio, session) == {"subject": "alpha", "prompt": "{} is", "target": "x y"}
    own = links.opened(studio.choices, asked(studio, session))
    assert own.label == "" and own.fact == ("alpha", "{} is", "x y") and own.editors == ()
    for query in {}, {"__theme": "dark"}, {"example": " "}:
        assert links.opened(studio.choices, query) is None


def test_a_link_carries_editors_and_own_prompts(studio):
    session, own = Session(), "Where is alpha?\nIs alpha & bravo, ok?"
    subject = studio.choices.subject("alpha", "{} is", "xy", own)
    studio.edit(session, subject, ["ft", "retrieval"]).outcome()
    found = links.opened(studio.choices, asked(studio, session))
    assert found == links.Opened(("alpha", "{} is", "xy"), "", ("ft", "retrieval"), own)
    assert "editors=ft,retrieval&" in links.link(studio.choices, session)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"example": "<script>alert(1)</script>"}, "fact"),
        ({"subject": "a", "prompt": "b", "target": "c"}, "fact"),
        ({"editors": "__class__"}, "editors"),
        ({"example": "the-eiffel-tower", "editors": "ft,<b>"}, "some of the editors"),
        ({"editors": "ft,ft_l,ft_m,grace,retrieval"}, "some of the editors"),
        ({"own": "\n".join(map(str, range(9)))}, "prompts"),
        ({"example": "x", "editors": "y", "own": "w" * 700}, "fact, editors, prompts"),
    ],
)
def test_what_a_link_cannot_ask_is_left_out_with_one_sentence(studio, query, said):
    found = links.opened(studio.choices, query)
    assert found.ignored == f"Left out of this link, because the page cannot use it: {said}."
    assert found.own == "" and set(found.editors) <= set(studio.choices.editors())
    assert len(found.editors) <= 4 and (found.fact is None) != (
        "the-eiffel-tower" in query.values()
    )


def test_the_raster_has_a_cell_for_every_edit_and_point(studio):
    test = stress_test.plan(studio.choices, [], cases(6), 6, 1)
    assert figures.states(test, test.lines[0]).shape == (6, 6)
    test.cases *= 6
    assert len(test.points) <= stress_test.POINTS and test.points[-1] == 36
    assert np.all(np.diff(test.points) > 0)
