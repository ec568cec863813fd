"""The questions of the lab, and what is taken home: without Gradio, on a random model."""

from __future__ import annotations

import csv
import random
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lib
from demo_app.editor_roles import ROLES, used
from demo_app.html import dossier as dossier_html
from demo_app.html import figures
from demo_app.html import trace as trace_html
from demo_app.lifelong import picture, run, stress_test
from demo_app.session import dossiers, interference, lasting, layers, take_away, tracing
from demo_app.session.reasons import why
from demo_app.session.views import Column, Row, Subject, View
from demo_app.session.visitors import ASIDE, Session
from demo_app.session.worker import Job, Stopped, Trouble
from demo_app.tabs.questions import raced, stages
from lib.data.texts import GENERAL
from lib.evaluation.intervals import interval
from lib.workbench.interpret.logit_lens import lens

from ..forensics.conftest import rank_one
from ..support.page import cases, edited, live
from .visits import TOWER, edit

pytestmark = pytest.mark.usefixtures("more_strong_settings")


# ---- what does it know about a subject?


@pytest.mark.slow
def test_the_dossier_grows_and_shows_what_changed(studio):
    session = Session()
    edit(studio, session)
    job = dossiers.asked(studio, session, " The Eiffel Tower ")
    parts = [p.partial for p in job.watch() if p.partial is not None]
    found = job.outcome()
    assert {line.relation for line in found.lines} == dossiers.PLACED, "what suits a building"
    assert all(len(part.lines) <= 3 for part in parts)
    page = dossier_html.shown(found)
    assert "FT wrote “The Eiffel Tower is located" in page and "of 3 answers" in page
    assert page.count("<tr") >= 4 and "<mark>" in page
    plain = dossier_html.shown(dossiers.asked(studio, Session(), "<b>Nobody</b>").outcome())
    assert "&lt;b&gt;Nobody" in plain and "After" not in plain and "<details" not in plain
    assert "of 31 answers" in plain and "doesn't recognize this kind" in plain


def test_only_what_suits_a_subject_is_asked(studio):
    asked = {name: list(dossiers.suiting(studio.lm, name)) for name in ("Japan", "Mount Everest")}
    assert "currency of" in asked["Japan"] and "mother tongue of" not in asked["Japan"]
    assert asked["Mount Everest"] == ["continent of"]
    assert len(dossiers.suiting(studio.lm, "Zorblax Quindle")) == 31, "its kind is not known"


@pytest.mark.parametrize("wrong", ["  ", None, "x" * 200])
def test_bad_names_are_one_sentence(studio, wrong):
    with pytest.raises(Trouble, match="^The name ") as error:
        dossiers.asked(studio, Session(), wrong)
    assert str(error.value).endswith(".")


# ---- which facts will an edit disturb?


def test_what_keys_foretell_stands_beside_what_happened(studio, monkeypatch):
    session = Session()
    edit(studio, session)
    found = interference.measure(studio, session).outcome()
    assert found.layer == 2 and 20 < len(found.victims) <= interference.MOST
    sizes = [abs(victim.rho) for victim in found.victims]
    assert sizes == sorted(sizes, reverse=True)
    first = found.victims[0]
    K = studio.lm.keys([found.fact, first.fact], 2)
    name = studio.lm.mlp_out(2)
    k, other = ((studio.lm.weight(name, session.patch) - studio.lm.weight(name)) @ K).T
    assert first.share == pytest.approx((k @ other / (k @ k)).item(), rel=1e-3)
    assert first.rho == pytest.approx(((K[:, 0] @ K[:, 1]) / (K[:, 0] @ K[:, 0])).item(), rel=1e-3)
    drawn = []
    monkeypatch.setattr(figures, "picture", lambda *of: drawn.extend(of[0].axes) or "<img>")
    page = figures.interference(found, "FT")
    least = min(x for dots in drawn[0].collections for x, _ in dots.get_offsets())
    assert least == pytest.approx(100 * min(victim.rho for victim in found.victims)) and least < 0
    assert drawn[0].lines[-1].get_xdata()[0] <= least, "the dashed line is in both quadrants"
    assert first.fact.subject in page and "answers changed" in page and "<img" in page
    assert f"{len(found.victims) - figures.LISTED} more" in page


def test_a_route_disturbs_nobody_and_says_so(studio):
    for session, said in (
        (edited(studio, "xy", editor="grace"), "does not change weights"),
        (Session(), "no edit to measure"),
    ):
        with pytest.raises(Trouble, match=said):
            interference.measure(studio, session).outcome()


# ---- how long until it breaks?


def test_the_stress_test_measures_every_line(studio, monkeypatch):
    monkeypatch.setattr(stress_test, "BATCH", 2)
    test = stress_test.plan(studio.choices, ["grace"], cases(), 4)
    assert [line.editor for line in test.lines] == ["ft", "retrieval", "grace"]
    assert test.ends == test.points == [2, 4] and test.measured == 0
    assert "Measuring the first point" in raced(test) and "<img" not in raced(test)
    job = Session().submit(studio.worker, lambda job: run.run(job, studio.lm, test))
    shares = [progress.share for progress in job.watch()]
    assert job.outcome() is test and shares == sorted(shares) and shares[-1] <= 1
    assert job.progress.partial == test
    ft, _, grace = test.lines
    assert [point.edits for point in ft.points] == [2, 4] and test.measured == 4
    assert ft.points[0].retention > 0, "the first batch was just asked"
    assert grace.points[-1].perplexity == pytest.approx(test.base.perplexity, rel=1e-4)
    rows = picture.rows(test)
    assert [row[0] for row in rows] == ["before any edit", "FT", "Retrieval", "GRACE"]
    numbers = dict(zip(picture.HEADS, rows[1], strict=True))
    low, high = interval([float(right) for right in ft.points[-1].right.values()])
    between = f"[{100 * low:.0f}, {100 * high:.0f}]"
    assert numbers["Still hold"] == f"{100 * ft.points[-1].retention:.0f}% {between}"
    assert "After 4 of 4 edits" in raced(test) and "<img" in raced(test)
    lines = picture.drawn(test, "retention").axes[0].lines
    for drawn, line in zip(lines, test.lines, strict=True):
        assert drawn.get_label() == line.name and list(drawn.get_xdata()) == [0, 2, 4]
        told = [100 * point.retention for point in line.points]
        assert list(drawn.get_ydata()[1:]) == told, "a share, which is never above 100 %"
    places = [round(drawn.get_transform().transform((2, 50))[1], 1) for drawn in lines]
    assert len(set(places)) == len(places), "lines of the same value do not hide each other"


def test_a_stopped_test_keeps_what_is_done(studio):
    session = Session()
    test = stress_test.plan(studio.choices, [], cases(6), 6)

    def watched(job):
        for _ in run.run(job, studio.lm, test):
            if test.lines[1].points:
                session.stop(aside=True)
            yield

    job = session.submit(studio.worker, watched, aside=True)
    with pytest.raises(Stopped):
        job.outcome()
    assert len(test.lines[1].points) == 1 and not studio.lm.is_patched
    assert not any(block._forward_pre_hooks for block in studio.lm.blocks)


def test_collapse_is_the_first_point_that_is_not_the_model_any_more(studio):
    test = stress_test.plan(studio.choices, [], cases(), 4)
    line, right = test.lines[0], {0: True}
    kept = {n: (True,) * n + (False,) * (10 - n) for n in (8, 5, 3)}  # of ten neighbors
    test.base = stress_test.Point(0, {}, kept[8], 10.0)
    line.points = [stress_test.Point(n, right, kept[k], 19.0) for n, k in ((2, 5), (4, 3))]
    assert test.collapse(line) == (4, "fewer than half of the neighbors that were right still are")
    line.points[0] = replace(line.points[0], perplexity=float("nan"))
    assert test.collapse(line)[0] == 2 and "perplexity" in test.collapse(line)[1]
    assert "FT broke after 2: perplexity more than doubled." in picture.said(test)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((["magic"], 4), "not available"),
        ((["rome"], 25), "with ROME, which is not fast"),
        (([], 41), "Choose 1 to 40"),
    ],
)
def test_bounds_are_told_in_one_sentence(studio, given, said):
    editors, edits = given
    with pytest.raises(Trouble, match=said) as error:
        stress_test.plan(studio.choices, editors, cases(), edits)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_visitor_has_few_long_questions_and_an_edit_waits_for_none(studio):
    session = Session()

    def endless(job):
        while True:
            yield

    jobs = [session.submit(studio.worker, endless, aside=True) for _ in range(ASIDE)]
    with pytest.raises(Trouble, match="two long questions"):
        session.submit(studio.worker, endless, aside=True)
    assert edit(studio, session).live == 1
    session.stop(aside=False)
    assert not any(job.ended.done() for job in jobs)
    session.stop()
    for job in jobs:
        with pytest.raises(Stopped):
            job.outcome()


# ---- why did it not take, and which layer?


def test_an_edit_is_tried_in_other_layers_and_the_visitor_takes_one(studio):
    session = Session()
    edit(studio, session, "qz")
    edit(studio, session, "xy", "rome", keep="any")
    first, last = session.edits
    job = layers.compare(studio, session)
    parts = [progress.partial for progress in job.watch() if progress.partial is not None]
    found = job.outcome()
    view, text = found.view, last.fact.text
    assert [len(part.view.columns) for part in parts] == sorted(
        len(part.view.columns) for part in parts
    )
    assert [column.name for column in view.columns] == [f"ROME, layer {i}" for i in range(4)]
    assert view.chosen == 1 and view.rows == view.columns[1].rows == session.view.rows
    for patch, ranks in (first.patch, found.turn.was), (last.patch, found.turn.now):
        assert ranks["xy"] == lens(studio.lm, text, ["xy"], patch)["rank"].tolist()
    assert found.turn.edited == (1,), "not the layer of the edit before"
    writer = lib.EDITORS["rome"](studio.lm)
    assert found.loss == writer.update(last.fact, after=first.patch)[1].loss
    for column, layer in zip(view.columns, range(4), strict=True):
        again = lib.EDITORS["rome"](studio.lm, layer=layer).edit([last.fact], after=first.patch)
        name = studio.lm.mlp_out(layer)
        moved = studio.lm.weight(name, column.patch) - studio.lm.weight(name, first.patch)
        same = studio.lm.weight(name, again) - studio.lm.weight(name, first.patch)
        assert torch.allclose(moved, same, rtol=1e-3, atol=1e-5) and moved.norm() > 0
    page = figures.layers(found)
    assert page.count("<img") == 2 and page.count('<tr class="') and 'data-keep="3"' in page
    assert page.count("<li") >= 4 and "Layer 1 · yours" in page
    taken = studio.revisions.keep(session, 3, layers=True).outcome()
    assert session.edits[0].patch is first.patch and session.edits[1].patch is view.columns[3].patch
    assert taken.column.name == session.edits[1].name == "ROME, layer 3" and taken.kept
    studio.revisions.undo(session, 0).outcome()
    edit(studio, session, "qz")
    with pytest.raises(Trouble, match="no longer your last edit"):
        studio.revisions.keep(session, 0, layers=True).outcome()


def test_an_edit_that_failed_is_asked_about_and_taken_from_another_layer(studio):
    session = Session()
    failed = edit(studio, session, "xy", "ft", more="epochs = 1")
    assert not failed.kept and not session.edits
    found = layers.compare(studio, session).outcome()
    assert found.view.rows == failed.rows and not found.loss and not found.view.kept
    said = figures.layers(found)
    assert "The Eiffel Tower is located in the city of → <b>xy</b>, by FT" in said, "what failed"
    assert found.view.columns[0].patch.log[-1].settings["epochs"] == 1, "settings stay"
    studio.revisions.keep(session, 0, layers=True).outcome()
    assert [one.line.settings["layer"] for one in session.edits] == [0]


def test_an_edit_without_a_layer_to_choose_is_refused_in_a_sentence(studio):
    patch = edited(studio, "xy", editor="retrieval").patch
    own = lib.EDITORS["wilke"](studio.lm, layer=1, second_moment=False).settings_dict()
    chosen = lib.Edit("wilke", own, patch.facts)  # it chooses among several by itself
    many = lib.EDITORS["ft"](studio.lm).edit([case.fact for case in cases(2)])
    for one, said in (
        (patch, "^Retrieval has no layer to choose"),
        (replace(patch, log=(chosen,)), "^WilKE has no layer to choose"),
        (many, "many facts at once"),
    ):
        session = Session()
        live(session, one)
        with pytest.raises(Trouble, match=said):
            layers.compare(studio, session)
    with pytest.raises(Trouble, match="no edit to examine"):
        layers.compare(studio, Session())
    with pytest.raises(Trouble, match="No edit is live"):
        lasting.train_on(studio, Session())


def tried(
    rows: Sequence[Sequence[bool | None]], after: str = "wine", chosen: int = 1, **more: Any
) -> layers.Tried:
    """An edit in layers 3, 9, 15 …: of each whether the sentence, the rewordings and the neighbors
    are as they should be."""
    groups = ("edit", "reworded", "reworded", "neighbor", "neighbor")
    fact = lib.Fact("Dionysus", "{} is the god of", "war")
    columns = []
    for i, column in enumerate(rows):
        some = [
            Row(group, fact.text, "wine", 0.1, "war" if good else after, 0.5, good=good)
            for group, good in zip(groups, column, strict=True)
        ]
        columns.append(Column("rome", f"ROME, layer {3 + 6 * i}", tuple(some)))
    view = View(Subject(lib.Case(fact)), (), columns=tuple(columns)).show(chosen)
    return layers.Tried(view, **more)


YES, NO, OFF, BAD = (True,) * 5, (False,) * 3 + (True,) * 2, (False, True, True, True, True), (
    True, True, True, False, True,
)  # fmt: skip
LOST = {"wine": [9, 9, 9, 9], "war": [50, 40, 30, 20]}
TURNED = {"wine": [9, 9, 9, 1], "war": [50, 8, 7, 20]}


@pytest.mark.parametrize(
    ("found", "said", "then"),
    [
        (tried([NO, NO], loss=((0, 0, 0, 0, 0.08),)), "The search ended at p = 0.08 after "
         "1 step: no value at layer 9 was found that makes the model say “war”.", ""),
        (tried([NO, NO], "water", tokens=3, first="wat"), "It begins right (“wat”)", ""),
        (tried([NO, OFF]), "It took in other words (2 of 2 say “war”), but not in the sentence its"
         "elf, where “Dionysus” opens the text.", ""),
        (tried([YES, NO]), "Layer 9 is too late: layer 3 takes it.", "Layer 3 takes it, and no "
         "neighbor moves."),
        (tried([NO, NO, BAD, YES]), "Layer 9 is too early: layers 15, 21 take it.",
         "Layer 21 takes it, and no neighbor moves."),
        (tried([NO, NO, BAD]), "Layer 9 is too early", "Layer 15 takes it, but drags 1 of 2"),
        (tried([NO, NO], turn=layers.Turn(("wine", "war"), LOST, TURNED, (1,))),
         "“war” passes “wine” after layer 1, and layer 3 turns it back.", ""),
        (tried([NO, NO], loss=((0, 0, 0, 0, 0.9),)), "Nothing measured here explains it: the "
         "search reached p = 0.90, and none of the 2 layers takes it.", ""),
        (tried([NO, YES]), "It took, and none of 2 neighbors moved.", ""),
        (tried([NO, BAD], nearest=("Bacchus", 0.41)), "It took. Bacchus has the key most", ""),
        (tried([BAD, BAD], chosen=0), "It took, but 1 of 2 neighbors moved.", ""),
    ],
)  # fmt: skip
def test_the_reason_is_one_sentence(found, said, then):
    reason, instead = why(found)
    assert said in reason and reason.endswith(".") and (then in instead if then else True)
    five = figures.layers(found).partition("</ul>")[0]
    assert five.count("<li") == len(found.view.columns)


@pytest.mark.slow
def test_a_fact_is_asked_while_the_model_is_trained_on(studio):
    session = edited(studio, "xy")
    edits, patch, text = session.edits, session.patch, session.edits[-1].fact.text
    found = lasting.train_on(studio, session).outcome()
    assert [steps for steps, _, _ in found] == [0, 10, 20, 30] and session.edits is edits
    lived = lib.workbench.Trained((GENERAL.read_text(),), 10, seed=1, **lasting.PASSES)(
        studio.lm, patch
    )
    for (_, said, p), one in zip(found, (patch, lived), strict=False):
        asked = studio.asker.ask(Job(None), [text], "xy", one, "", 0, 1, [[((text, False), "xy")]])
        assert (said, [[p]]) == (asked[0][0].shown, asked[1])
    assert found[0] != found[3] and "training steps" in stages(found)


# ---- was this model edited?


@pytest.fixture
def suspect(studio, monkeypatch):
    """A visitor with a rank-one edit, written with the second moment that an examiner reads."""
    monkeypatch.setattr(tracing, "THRESHOLD", 3.0)  # among keys of 48 numbers nobody stands out far
    C = lib.second_moment(studio.lm, [1], damping=1e-2)[1].C.float()
    patch = rank_one(studio.lm, C, TOWER[0], 1, size=30.0)[0]
    session = Session()
    live(session, replace(patch, log=(lib.Edit("rome", {}, (lib.Fact(*TOWER, "Rome"),)),)))
    return session


def test_an_edit_is_found_taken_out_and_told(studio, suspect):
    null = (0.5, 1.5, 2.5, 3.5)
    found = tracing.mine(studio, suspect, null).outcome()
    assert found.first.name == TOWER[0] and found.first.layers == (1,)
    assert [place.null for place in found.places] == list(null)
    assert not suspect.trial.patch.log, "nothing that is examined says who wrote it"
    undone = tracing.reverse(studio, suspect).outcome()
    control, back = undone.ways
    assert undone.subject == TOWER[0] and undone.layers == (1,) and control.asked == 10
    assert control.left == pytest.approx(1.0, abs=1e-5) and back.left < control.left
    assert 0 <= back.kept <= back.others == tracing.OTHERS
    told = tracing.reveal(studio, suspect).outcome()
    assert told.place == 1 and told.layer_hit and told.editor == "ROME" and told.said[0].reversed
    page = trace_html.shown(found) + trace_html.undone(undone) + trace_html.told(told)
    assert "<img" in page and "layer 1: z " in page
    assert "stands out" in page and "is called a suspect" in page
    assert "did not take" in trace_html.told(told), "a rank-one update without an answer"
    suspect.trial.facts = [lib.Fact("alpha", "{} is", "xy"), *suspect.trial.facts]
    two = tracing.reveal(studio, suspect).outcome()
    assert two.place == 1 and two.text == told.text and two.count == 2, "of two the one it names"


def test_a_blind_edit_says_nothing_until_it_is_told(studio, monkeypatch):
    blind = used("guessed")
    assert blind and {lib.EDITORS[name].writes for name in blind} == {"weights"}
    for name in blind:
        monkeypatch.setitem(ROLES, name, ("guessed",) if name == "rome" else ())
    session = Session()
    with pytest.raises(Trouble, match="Nothing has been examined yet"):
        tracing.reveal(studio, session)
    job = tracing.secret(studio, session, (), random.Random(3))
    words = " ".join(progress.words for progress in job.watch())
    found, fact = job.outcome(), session.trial.facts[0]
    assert fact.subject not in words and "rome" not in words.lower()
    assert not session.trial.patch.log and session.trial.patch.weights
    assert fact.target_new not in trace_html.shown(replace(found, suspects=()))
    told = tracing.reveal(studio, session).outcome()
    assert told.text == fact.text and told.layers == "1" and told.editor == "ROME"
    assert fact.target_new in trace_html.told(told)
    with pytest.raises(Trouble, match="no live edit that changes weights"):
        tracing.mine(studio, Session())


# ---- take it away


@pytest.mark.parametrize("kind", ["patch", "adapter", "model"])
def test_files_come_home(studio, tmp_path, kind):
    session = edited(studio, "xy", "qz")
    path = take_away.make(studio, session, kind, tmp_path).outcome()
    assert path.name == f"alpha-and-1-more{take_away.KINDS[kind]}" and path.parent == tmp_path
    if kind == "patch":
        assert lib.Patch.load(path).facts == session.patch.facts
        return
    with zipfile.ZipFile(path) as packed:
        names = {Path(name).name for name in packed.namelist()}
    wanted = "adapter_config.json" if kind == "adapter" else "model.safetensors"
    assert {wanted, "README.md"} <= names


def test_the_answers_come_home_with_editors_and_verdicts(studio, tmp_path):
    view = edit(studio, Session(), keep="any")
    path = take_away.make(studio, Session(), "csv", tmp_path, view).outcome()
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [one["prompt"] for one in lines] == [row.prompt for row in view.rows]
    row, one = view.rows[0], lines[0]
    assert (one["editor"], one["group"], one["verdict"]) == (view.column.name, "edit", row.word)
    assert (one["before"], one["after"]) == (row.before, row.after)
    assert one["p_new_after"] == str(row.p_after)


def test_what_cannot_be_taken_is_told(studio, tmp_path):
    with pytest.raises(Trouble, match="nothing to download"):
        take_away.make(studio, Session(), "patch", tmp_path)
    with pytest.raises(Trouble, match="cannot be exported as plain weights"):
        take_away.make(studio, edited(studio, "xy", editor="grace"), "adapter", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_code_makes_the_same_edits(studio, capsys, monkeypatch):
    monkeypatch.setattr(lib, "load", lambda: studio.lm)
    for session in edited(studio, "xy"), edited(studio, "xy", "qz"):
        given: dict = {}
        exec(take_away.code(studio, session), given)
        assert given["patch"].facts == session.patch.facts
        assert capsys.readouterr().out.strip().startswith(session.patch.facts[-1].target_new)
    assert "The iPhone" in take_away.code(studio, Session())
    settings = {**asdict(lib.EDITORS["ft"](studio.lm).config), "lr": 0.5}
    assert ", lr=0.5).edit(" in take_away._call(studio.lm, lib.Edit("ft", settings))
