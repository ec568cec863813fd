"""The demo: what visitors may do, without Gradio; then a real server with two visitors at once."""

from __future__ import annotations

import html
import math
import os
import socket
import threading
import time
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch

import lib
from demo_app.html import dossier, edits, figures, gallery, opening, render, trace
from demo_app.html.comparison import answers, comparison, headline, scoreboard
from demo_app.session import editor_settings
from demo_app.session.choices import Choices
from demo_app.session.edits import AppliedEdit
from demo_app.session.findings import Findings, Place, Said, Told, Undone, Way
from demo_app.session.first_edits import steps
from demo_app.session.gallery import Exhibit, Gallery, Step
from demo_app.session.gallery import Said as Stated
from demo_app.session.interference import Prediction, Victim
from demo_app.session.verdicts import EARLIER
from demo_app.session.views import (
    EDITS,
    Answer,
    Column,
    Row,
    Subject,
    View,
    clause,
    tally,
)
from demo_app.session.visitors import KEY, LATE, SOON, Session, Sessions
from demo_app.session.worker import FAILED, NO_MEMORY, Job, Progress, Stopped, Trouble, Worker
from demo_app.tabs.about import about
from lib.model import scoring
from lib.setting_fields import explain
from lib.workbench.forensics.matched_filter import Suspect
from lib.workbench.instruments.dossier import Dossier, Line
from lib.workbench.instruments.dossier_answers import EntityAnswers, EntityReply

from ..support import tiny
from ..support.page import live
from .conftest import STRONG
from .visits import TOWER, edit, until, visitor

pytestmark = pytest.mark.usefixtures("strong_settings")
PRESETS = STRONG


# ---- the form


def test_the_examples_are_classroom_cases_and_the_iphone_is_ready(studio):
    assert studio.choices.ready == "The iPhone → Samsung"
    assert studio.choices.example(studio.choices.ready).id == 90
    assert 12 <= len(studio.choices.examples) <= 40
    with pytest.raises(Trouble, match="Unknown example 'x'"):
        studio.choices.example("x")


def test_a_model_is_offered_the_examples_that_it_knows(monkeypatch):
    lm = tiny.model("llama")
    lm.name = "gemma-3-270m"
    offered, known = Choices(lm), {case.id for case in lib.classroom(lm.name)}
    assert set(offered.cases) == known and set(offered.examples.values()) < known
    assert offered.ready == "The iPhone → Samsung" and 22 not in offered.examples.values()
    some = [case for case in lib.classroom() if case.id not in offered.examples.values()][2:4]
    monkeypatch.setattr(lib, "classroom", lambda _: some)
    few = Choices(lm)  # no example is known: what is known is offered
    assert few.ready == few.label(some[0].fact) and len(few.examples) == 2
    assert "Gemma Terms of Use" in about(lm.name) and "Gemma" not in about("somebody/new")


def test_every_editor_is_offered_with_a_sentence(studio):
    for name, (label, sentence) in studio.choices.editors.items():
        assert label and sentence.endswith(".") and "\n" not in sentence, name
    assert studio.choices.editors["ft_l"][0] == "FT-L"
    assert [steps(lib.EDITORS[name](studio.lm)) for name in ("retrieval", "ft")] == [0, 60]


def test_a_typed_fact_has_no_neighbors_until_the_model_was_asked(studio):
    found = studio.choices.subject("Devin Castle", "Devin Castle is located in the city of", "Oslo",
                           "Where is it?\n\n Where is it? \nAnd?")  # fmt: skip
    assert found.own == ("Where is it?", "And?") and not found.case.paraphrases
    assert {group for group, *_ in found.prompts} == {
        "edit", "own", "negation", "unrelated",
    }, "a fact of no known relation is no question in a chat"  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("A", "[X] is in [Y]", "x"), "not the subject's only place"),
        (("", "{} is", "x"), "subject is empty"),
        (("A", "{} is", None), "new answer is empty"),
        (("Eifel", "The Eiffel Tower is in", "Rome"), "does not occur in the prompt"),
        (("A", "{} is " + "very " * 200, "x"), "maximum is 600"),
        (("A", "{} is", "x", "\n".join(map(str, range(9)))), "too many"),
    ],
)
def test_bad_input_is_told_in_one_sentence(studio, given, said):
    with pytest.raises(Trouble, match=said) as error:
        studio.choices.subject(*given)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


# ---- edit, undo, write


def test_an_edit_is_measured_and_undone_exactly(studio):
    session, before = Session(), {n: p.clone() for n, p in studio.lm.model.named_parameters()}
    seen = studio.look(session, studio.choices.subject(*TOWER, "xy")).outcome()
    assert seen.rows[0].after is None and seen.live == 0
    view = edit(studio, session)
    row = view.rows[0]
    assert tally(view.rows, "edit") == (1, 1) and row.p_after > 10 * row.p_before and row.kl > 0
    assert view.column.seconds > 0 and view.live == len(session.edits) == 1
    stays = next(
        one for one in view.rows if one.group == "neighbor" and clause(one.before) != view.old
    )
    with studio.lm.patched(session.patch):
        own = math.exp(studio.lm.score(stays.prompt, clause(stays.before)).sum().item())
    assert stays.old_after == pytest.approx(own, rel=1e-3, abs=0), "p of its own answer"
    again = edit(studio, session, "qz")
    assert again.rows[0].before == row.before, "before is always the base model"
    undone = studio.revisions.undo(session, -1).outcome()
    assert undone.live == 1 and "1 of your edits is still live" in undone.undone
    last = studio.revisions.undo(session).outcome()
    assert session.edits == () and "byte-identical" in last.undone and "10 of 10" in last.undone
    assert all(row.kl == 0 and row.good is not False for row in last.rows[3:])
    assert all(torch.equal(p, before[n]) for n, p in studio.lm.model.named_parameters())
    with pytest.raises(Trouble, match="no edit to undo"):
        studio.revisions.undo(session).outcome()


def test_an_edit_that_the_model_does_not_say_is_live_only_when_it_is_kept(studio):
    session, weak = Session(), "epochs = 1\nlr = 0.000001"
    edit(studio, session)
    held = session.edits
    with pytest.raises(Trouble, match="exceeds the context"):  # the tiny model reads 256 tokens
        studio.edit(session, studio.choices.subject("A", "{} " + "w" * 300, "xy"), "ft").outcome()
    failed = edit(studio, session, "qz", more=weak)
    assert tally(failed.column.rows, "edit") == (0, 1) and failed.rows[0].after is not None
    assert session.edits is held and failed.live == 1 and not failed.kept, "shown, and not live"
    for _ in range(2):  # pressed twice it is one edit
        kept = studio.revisions.keep(session, 0).outcome()
        assert session.patch is failed.columns[0].patch and kept.live == len(session.edits) == 2
    assert session.edits[1].row.good is False and session.edits[0].patch is held[0].patch
    assert 'data-keep="1"' in opening.rows(kept) and "did not make the model" in opening.rows(kept)
    assert studio.revisions.undo(session, 1).outcome().live == 1
    with pytest.raises(Trouble, match="no longer your last edit"):
        studio.revisions.keep(session, 0).outcome()
    beside = edit(studio, Session(), "qz", ["grace", "retrieval"])  # GRACE refuses here
    assert beside.live == 0 and scoreboard(beside).count('data-keep="1"') == 1
    with pytest.raises(Trouble, match="the maximum for one visitor"):
        edit(studio, Session(edits=held * EDITS), "qz")


def test_the_same_fact_again_takes_the_place_of_the_last_edit(studio):
    session, weak = Session(), "epochs = 1\nlr = 0.000001"
    below = edit(studio, session, "qz", keep="any")
    first = edit(studio, session, keep="any")
    assert first.live == 2 and not first.again
    again = edit(studio, session, keep="any", more="seed = 3")
    assert again.again and again.live == len(session.edits) == 2, "it is no third edit"
    assert again.column.name == "FT, seed 3", "and its settings stand beside its name"
    assert session.edits[0].patch is below.columns[0].patch
    assert session.patch.log[-1].settings["seed"] == 3
    failed, held = edit(studio, session, more=weak), session.edits
    assert session.patch is again.columns[0].patch and not failed.kept, "what did not take is not"
    kept = studio.revisions.keep(session, 0).outcome()
    assert kept.live == len(session.edits) == 2 and session.patch is failed.columns[0].patch
    session.edits = held[:1]
    with pytest.raises(Trouble, match="no longer your last edit"):
        studio.revisions.keep(session, 1).outcome()
    fact = TOWER[0], TOWER[1], "xy"
    for _ in range(2):  # a program's edits pile up
        job = studio.edit(session, studio.choices.subject(*fact), "ft", keep="any", listed=False)
        job.outcome()
    assert len(session.edits) == 3


def test_visitors_never_see_each_others_edits(studio):
    one, two, three = Session(), Session(), Session()
    subjects = [studio.choices.subject(*TOWER, target) for target in ("xy", "qz")]
    jobs = [studio.edit(s, subject, "ft") for s, subject in zip((one, two), subjects, strict=True)]
    jobs += [studio.look(three, subjects[0])]
    jobs += [studio.answer(who, "The Eiffel", False, 30) for who in (one, three)]
    first, second, looked, wrote, plain = [job.outcome() for job in jobs]
    assert tally(first.rows, "edit") == tally(second.rows, "edit") == (1, 1)
    assert looked.rows[0].after is None and plain["before"] == plain["after"] == wrote["before"]
    with studio.lm.patched(one.patch):
        assert wrote["after"] == studio.lm.answer("The Eiffel", 30) and wrote["live"] == 1


def test_a_stored_example_that_is_shown_writes_on_until_an_edit_is_live(studio):
    subject, session = studio.choices.subject(*TOWER, "xy"), Session()
    made = studio.edit(Session(), subject, "ft", keep="none").outcome()
    shown = replace(made, stored=True).show(0)
    text = f"{TOWER[0]} is located in the city of"
    said = studio.answer(session, text, False, 4, shown).outcome()
    starts = [said[when].strip().startswith("xy") for when in ("before", "after")]
    assert starts == [False, True] and said["live"] == 0
    assert "After the stored edit by FT" in render.continued(said, text)
    plain = studio.answer(session, text, False, 4).outcome()
    assert plain["after"] == plain["before"] and "No edit is live" in render.continued(plain, text)


# ---- the list of edits: one is taken out, and what the others say


def weight(studio, patch=lib.EMPTY):
    return studio.lm.weight(studio.lm.mlp_out(2), patch)


@pytest.mark.slow
def test_one_edit_is_taken_out_and_the_later_ones_are_written_again(studio):
    session = Session()
    for target in ("xy", "qz", "xy"):
        edit(studio, session, target, keep="any")  # whatever a random model then says
    first, second, third = session.edits
    view = studio.revisions.undo(session, 1).outcome()
    assert view.live == 2 and "byte-identical" in view.undone
    assert session.edits[0].patch is first.patch, "what stands before it is untouched"
    again = lib.EDITORS["ft"](studio.lm).edit(third.patch.log[-1].facts, after=first.patch)
    torch.testing.assert_close(weight(studio, session.patch), weight(studio, again))
    assert [one.fact for one in session.edits] == [first.fact, third.fact]
    with pytest.raises(Trouble, match="no longer in your list"):
        studio.revisions.undo(session, 2).outcome()
    for wrong in ("1", 0.5, [1]):
        with pytest.raises(Trouble, match="should be a whole number"):
            studio.revisions.undo(session, wrong)
    assert studio.revisions.undo(session).outcome().live == 0 and session.edits == ()


def test_what_an_earlier_edit_had_moved_is_not_held_against_a_later_one(studio):
    session = Session()
    edit(studio, session)
    other = studio.choices.subject("The Colosseum", TOWER[1], "qz")
    view = studio.edit(session, other, "retrieval", keep="any").outcome()
    shown = [row for row in view.rows if row.group in ("neighbor", "unrelated")]
    moved = [row for row in shown if row.word == EARLIER]
    assert moved and all(row.good is None and row.before != row.after for row in moved)
    assert not any(row.good is False for row in shown), "a lookup changes nothing of the others"
    assert "moved by one of your earlier edits" in opening.rows(view)
    assert "moves" not in scoreboard(view)
    undone = studio.revisions.undo(session, -1).outcome()
    blamed = [row.prompt for row in undone.rows if row.word == EARLIER]
    assert blamed == [row.prompt for row in moved], "by what is still live"
    alone = studio.edit(Session(), studio.choices.subject(*TOWER, "xy"), "ft", keep="any").outcome()
    assert all(row.word != EARLIER for row in alone.rows), "a first edit moved them itself"


def test_each_edit_says_whether_it_holds_and_has_a_way_out(studio):
    session = Session()
    edit(studio, session)
    assert session.edits[0].row.good and session.edits[0].row.after.strip().startswith("xy")
    edit(studio, session, "qz")
    first, second = session.edits
    assert (first.row.good, second.row.good) == (False, True), "a later one writes the same prompt"
    shown = edits.listed(session.edits, "It breaks.")
    assert shown.count("<li>") == 2 and 'data-out="1"' in shown and "⚠ It breaks." in shown
    assert "overwritten by your later edit of the same subject; the model says “qz" in shown
    assert "hold; the model says" not in shown
    assert "given, but the text loops; the model says “qz" in shown, (
        "a random model goes on with it"
    )
    plain = replace(second, row=replace(second.row, word="new answer"))
    assert ">holds; the model says “qz" in edits.listed([plain], None)
    assert "hold; the model says" in edits.listed([first], None), "no later edit explains it"
    many = lib.Patch(log=(lib.Edit("memit", {}, (lib.Fact(*TOWER, "xy"),) * 40),))
    assert "40 facts" in edits.listed([AppliedEdit(many, "MEMIT")], None)


# ---- several editors side by side


def test_editors_side_by_side_and_another_one_kept(studio):
    session, subject = Session(), studio.choices.subject(*TOWER, "xy")
    job = studio.edit(session, subject, ["ft", "retrieval"])
    view, so_far = job.outcome(), job.progress.partial
    assert [column.name for column in view.columns] == ["FT", "Retrieval"] and view.chosen == 0
    assert so_far.columns == view.columns[:1] and "data-keep" not in scoreboard(so_far)
    assert view.rows is view.columns[0].rows and len(session.edits) == 1
    before = [row.before for row in view.columns[0].rows]
    assert all(a is row.before for a, row in zip(before, view.columns[1].rows, strict=True))
    kept = studio.revisions.keep(session, 1).outcome()
    assert session.patch is kept.columns[1].patch and kept.column.name == "Retrieval"
    assert len(session.edits) == 1 and session.edits[0].name == "Retrieval"
    assert kept.chosen == 1 and kept.rows is kept.columns[1].rows and kept.live == 1
    wrote = [tally(one.rows, "edit") for one in kept.columns]
    assert wrote[0] == (1, 1) and wrote[1][1] == 1
    assert [len(column.rows) for column in kept.columns] == [len(before)] * 2


def test_all_settings_are_listed_and_changed_line_by_line(studio):
    for name in lib.EDITORS:
        said = explain(lib.EDITORS[name].Config)
        rows = editor_settings.listed(studio.lm, name)
        assert {row["name"]: row["sentence"] for row in rows} == {
            word: said[word].sentence for word in editor_settings.shown(studio.lm, name)
        }
    assert editor_settings.shown(studio.lm, "ft")["epochs"] == 60
    found = editor_settings.of_each(studio.lm, ["ft"], "epochs = 2\n\nlr=0.5")
    assert found == {"ft": {"epochs": 2, "lr": 0.5}}
    subject = studio.choices.subject(*TOWER, "qz")
    for text, said in {
        "lr 0.5": "is not a setting", "nothing = 1": "has no setting",
        "lr = [": "should be a number", "lr = 1e9": "should be a number",
        "lr = {}": "should be a number",
        "target_eos = 3": "of the same kind", "epochs = 5000": "Choose 1 to 100",
        "lr = 1\n" * 400: "maximum is 2400",
    }.items():  # fmt: skip
        with pytest.raises(Trouble, match=said):
            studio.edit(Session(), subject, "ft", more=text)
    with pytest.raises(Trouble, match="Choose 1 to 100"):
        editor_settings.changes(studio.lm, "sdf", ["documents = 5000"])
    for name in ("network", "text", "inner"):  # nothing that names a file
        with pytest.raises(Trouble, match="has no setting"):
            editor_settings.changes(studio.lm, "mend", [f'{name} = "/etc/passwd"'])


# ---- what is computed once


def test_prompts_are_read_once_for_answer_and_chances_and_drafts_save_runs(studio, monkeypatch):
    asker, lm = studio.asker, studio.lm
    subject = studio.choices.subject(*TOWER, "x")
    patch = lib.EDITORS["ft"](lm).edit([subject.case.fact])
    asks = [(text, False) for _, text, _ in asker.prompts(subject)]
    answers = "x", "xyz", None
    asker._base.clear()
    with lm.patched(patch):
        rows, _ = lm.rows([text for text, _ in asks])
        said = lm.answer([text for text, _ in asks], asker.size(asks[0], "x"))
        table = lm.next_token([text for text, _ in asks])
        whole = [
            [s.log_probs.sum().exp().item() for s in scoring.score(lm, rows, [a] * len(rows))]
            for a in answers[:2]
        ]
    runs, backbone = [], lm.backbone
    monkeypatch.setattr(lm, "backbone", lambda *a, **more: runs.append(1) or backbone(*a, **more))
    wrong = {(ask, asker.size(ask, "x")): Answer("", None, (5, 6, 7)) for ask in asks}
    for drafts in ({}, wrong):  # a wrong draft changes nothing
        asker._base.update(drafts)
        wanted = [[(ask, answer) for ask in asks] for answer in answers]
        found, chances = asker.ask(Job(None), asks, "x", patch, "", 0, 1, wanted)
        assert [answer.text for answer in found] == said
        for answer, row in zip(found, table, strict=True):
            torch.testing.assert_close(answer.next_token, row, atol=1e-4, rtol=1e-4)
        assert chances[0] == pytest.approx(whole[0], rel=1e-4)
        assert chances[1] == pytest.approx(whole[1], rel=1e-4)
        assert chances[2] == [None] * len(asks)
    # what the unedited model says is the draft of what a patch that changes nothing lets it say
    unchanged = lib.patch.patch.scaled(lm, patch, 0.0)
    asker._base.clear()
    runs.clear()
    before, _ = asker.ask(Job(None), asks, "x", lib.EMPTY, "", 0, 1)
    slow = len(runs)
    runs.clear()
    again, _ = asker.ask(Job(None), asks, "x", unchanged, "", 0, 1)
    assert [a.text for a in again] == [a.text for a in before] and len(runs) < slow


# ---- the worker


def test_a_long_job_gives_the_model_back_between_its_steps_and_is_ended_before_the_worker():
    worker, order, gate = Worker(), [], threading.Event()

    def long(job):
        gate.wait(5)
        for i in range(3):
            order.append(f"long {i}")
            yield
        return "done"

    first = worker.submit(long)
    others = [worker.submit(lambda job, i=i: order.append(i)) for i in range(2)]
    gate.set()
    assert first.outcome() == "done" and all(job.outcome() is None for job in others)
    assert order == ["long 0", 0, 1, "long 1", "long 2"]
    gate.clear()
    job, ended = worker.submit(long), threading.Thread(target=worker.close, daemon=True)
    ended.start()
    gate.set()
    ended.join(5)
    assert not ended.is_alive() and job.outcome() == "done"


def test_background_work_makes_room_and_is_begun_again():
    worker, begun, gate = Worker(), [], threading.Event()

    def background(job):
        begun.append("back")
        while not gate.wait(0.005):
            job.report(0.5, "warming up")

    worker.in_background(background)
    assert until(lambda: begun) and worker.submit(lambda job: "first").outcome() == "first"
    gate.set()
    assert until(lambda: worker.idle) and len(begun) >= 2
    worker.close()


def test_stopping_an_edit_changes_nothing(studio):
    session = Session()
    job = studio.edit(session, studio.choices.subject(*TOWER, "xy"), "ft", more="epochs = 100")
    while "writing" not in job.progress.words:
        time.sleep(0.001)
    session.stop()
    with pytest.raises(Stopped):
        job.outcome()
    assert session.edits == () and not studio.lm.blocks[-1]._forward_pre_hooks


@pytest.mark.slow
@pytest.mark.parametrize("change", ["edit", "take out"])
def test_a_stop_at_the_very_end_changes_nothing(studio, monkeypatch, change):
    """The last that is done is to ask the new list: until then the list is the old."""
    session = Session()
    edit(studio, session)
    studio.edit(session, studio.choices.subject(*TOWER, "qz"), ["ft", "retrieval"]).outcome()
    held, checked = session.edits, studio.health.checked

    def stopped(job, *given, **more):
        checked(job, *given, **more)
        session.stop()
        job.check()

    monkeypatch.setattr(studio.health, "checked", stopped)
    start = {
        "edit": lambda: studio.edit(session, studio.choices.subject(*TOWER, "qz"), "ft"),
        "take out": lambda: studio.revisions.undo(session, 0),
    }[change]
    with pytest.raises(Stopped):
        start().outcome()
    assert session.edits is held


def test_progress_goes_up_and_a_waiting_job_ends_at_once():
    worker, gate = Worker(), threading.Event()

    def slow(job):
        for i in range(3):
            job.report(i / 3, f"step {i}")
        gate.wait(5)
        return "done"

    busy, waiting = worker.submit(slow), worker.submit(lambda job: 1)
    assert worker.ahead(waiting) == 1 and worker.ahead(waiting, [busy, waiting]) == 0
    waiting.stop()
    with pytest.raises(Stopped):
        waiting.ended.result(timeout=1)
    gate.set()
    shares = [progress.share for progress in busy.watch()]
    assert shares == sorted(shares)
    assert busy.outcome() == "done"
    worker.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (lib.errors.EditError("too bad"), "too bad"),
        (RuntimeError("secret path /x"), FAILED),
        (None, NO_MEMORY),  # torch's own
    ],
)
def test_errors_become_sentences_and_unknown_ones_tell_nothing(caplog, error, said):
    worker = Worker()

    def fail(job):
        raise error or torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(Trouble) as told:
        worker.submit(fail).outcome()
    assert str(told.value) == said and ("secret" in caplog.text) == (said == FAILED)
    worker.close()


def test_visitors_are_bounded_in_number_and_time():
    sessions = Sessions(most=2, idle=100)
    first, second = sessions.get("a"), sessions.get("b")
    assert sessions.get("a") is first
    sessions.get("c")
    assert len(sessions._all) == 2 and sessions.get("a") is first
    first.seen -= 1000
    sessions.get("d")
    assert sessions.get("b") is not second
    sessions.drop("d")
    sessions.drop("nobody")


def test_a_call_that_arrives_after_its_visitor_has_left_opens_no_session():
    sessions = Sessions()
    sessions.get("a")
    sessions.drop("a")
    late = sessions.get("a")
    assert late.left and not len(sessions._all) and sessions.get("a") is not late
    sessions._left["a"] -= LATE
    assert sessions.get("a") is sessions.get("a"), "who comes back later is a visitor again"


def test_a_visitor_with_edits_is_kept_before_those_who_have_none():
    sessions = Sessions(most=3)
    first = sessions.get("edits")
    live(first, lib.EMPTY)
    for number in range(50):
        sessions.get(f"flood {number}")
    assert len(sessions._all) == 3 and sessions.get("edits") is first
    for session in sessions._all.values():
        session.seen -= SOON + 1
    sessions.get("one more")
    assert len(sessions._all) == 2, "who has nothing to lose goes after half a minute"
    assert sessions.get(None) is not sessions.get(None), "without an id each call is its own"
    for bad in (7, "x" * (KEY + 1)):
        with pytest.raises(Trouble, match="id should be text"):
            sessions.get(bad)


def test_files_go_with_their_last_visitor(tmp_path):
    sessions, told = Sessions(), []
    sessions.forgotten = lambda key, files: told.append((key, len(files)))
    shared, own = tmp_path / "a" / "shared", tmp_path / "b" / "own"
    for path in (shared, own):
        path.parent.mkdir()
        path.write_text("x")
    one, two = sessions.get("one"), sessions.get("two")
    one.owns(shared), one.owns(own), two.owns(shared)
    sessions.drop("one")
    assert shared.exists() and not own.parent.exists() and told == [("one", 1)]
    sessions.drop("two")
    assert not shared.parent.exists() and two.left
    shared.parent.mkdir()
    shared.write_text("made after the visitor had left")
    two.owns(shared)
    assert not shared.exists()


# ---- how it looks


class Seen(HTMLParser):
    """What a browser makes of HTML: its tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


BAD = "<script>'\"&</td>"


def pieces_of_the_page() -> dict[str, str]:
    """Every piece of HTML that shows what a visitor or the model wrote, with BAD in each place."""
    fact = lib.Fact(BAD, "{} is", BAD)
    rows = (Row("edit", BAD, BAD, 0.1, f"{BAD}!", 0.2, 0.3, True, BAD),)
    column = Column("rome", BAD, rows, lib.EMPTY, 1.0)
    refused = Column("x", BAD, error=BAD)
    view = View(
        Subject(lib.Case(fact), BAD, (BAD,)), rows, 1,
        columns=(column, column, refused), old=BAD,
    )  # fmt: skip
    work = opening.Work(Progress(0.5, BAD), 0, 0.0, BAD, 3.0)
    more = (*rows, *(replace(rows[0], group=group) for group in ("reworded", "neighbor", "own")))
    whole = replace(view, columns=(replace(column, rows=more),) * 2).show(0)
    victim = Victim(fact, "your edits", 0.5, 0.4, BAD, BAD, True)
    told = Prediction(fact, "rome", 2, (victim,) * 3)
    said = Stated("own", BAD, BAD, BAD)
    shown = Exhibit("key", BAD, BAD, (Step("rome", BAD, "{} is", BAD),), said=(said,))
    line = lib.Edit("rome", {}, (fact,))
    applied = AppliedEdit(lib.Patch(log=(line,)), BAD, rows[0])
    found = Findings(BAD, (Place("layer 0", 1.0, BAD),), (Suspect(BAD, (0,), 9.0),), 2, 8.0)
    asked = (Said(BAD, BAD, BAD, BAD),)
    undone = Undone(BAD, (0,), (Way(BAD, 1, 1, 1, 1, 0.5),), asked)
    was = Told(BAD, 2, BAD, BAD, "1", None, None, asked)
    replies = EntityAnswers((EntityReply(BAD, 0.9, 5.0),), 20)
    known = Dossier(BAD, (Line(BAD, (BAD, BAD), replies, replies),), (line,))
    return {
        "headline": headline(view),
        "rows": opening.rows(whole, link=f"?subject={BAD}"),
        "board": opening.board(whole),
        "scoreboard": scoreboard(view),
        "nothing asked": opening.rows(View(view.subject, more)),
        "true": opening.rows(View(view.subject, more, already=True)),
        "writing": opening.rows(View(view.subject, more, old=BAD), work),
        "grown": opening.rows(whole, work),
        "editors": opening.families({"rome": (BAD, BAD)}, {}, 4),
        "barred": opening.families({"rome": (BAD, BAD)}, {"rome": BAD}, 4),
        "blocked": opening.blocked([BAD]),
        "picker": opening.picker([(BAD, BAD)]),
        "sorry": render.sorry(BAD),
        "busy": render.busy(Progress(0.5, BAD), 0),
        "header": render.header(BAD, 1),
        "written": render.continued({"before": BAD, "after": BAD, "live": 1}, BAD),
        "gone on": render.continued({"before": BAD, "after": BAD, "live": 0, "example": BAD}),
        "exhibit": gallery.verdict(shown, [replace(said, after=f"{BAD}!")]),
        "card": gallery.cards(Gallery(BAD, BAD, (shown,)), "", {}),
        "in words": render.in_words([BAD]),
        "numbers": render.numbers([BAD, BAD], [[BAD, BAD]], [BAD]),
        "beside": comparison(view),
        "all answers": answers(view),
        "alone": comparison(View(view.subject, rows, old=BAD)),
        "foretold": figures.interference(told, BAD),
        "list": edits.listed((applied,), BAD),
        "examined": trace.shown(found),
        "taken out": trace.undone(undone),
        "told": trace.told(was),
        "known": dossier.shown(known),
    }


def test_everything_a_visitor_wrote_is_escaped():
    for name, shown in pieces_of_the_page().items():
        seen = Seen(shown)
        assert not any(tag == "script" for tag, _ in seen.tags), name
        known = {"class", "style", "title", "data-name", "tabindex", "aria-current", "hidden",
                 "colspan", "scope", "role", "aria-label", "aria-valuemin", "aria-valuemax",
                 "aria-valuenow", "aria-hidden", "alt", "src", "type",
                 "href", "target", "data-column", "data-editor", "data-good",
                 "data-dot", "data-show", "data-keep", "aria-pressed", "open", "data-link",
                 "data-state", "data-stored", "data-subject", "data-prompt", "data-sentence",
                 "data-target",
                 "data-old", "data-kept", "data-busy", "data-took", "data-says",
                 "data-thin", "data-changed", "data-same", "data-final", "data-pick", "data-open",
                 "data-tick", "data-close", "data-try", "data-html", "aria-expanded",
                 "data-out", "data-whom", "x", "y", "x1", "x2", "y1", "y2", "width", "height",
                 "viewbox"}  # fmt: skip
        assert all(attrs.keys() <= known for _, attrs in seen.tags), name
        assert "<script>'\"&" in "".join(seen.text), f"{name} shows it as it was written"


# ---- a real server


FORM = (["ft"], "", "", False)  # editors, own prompts, settings, whether in any case


def test_nobody_is_told_and_no_proxy_is_asked(page):
    from demo_app.__main__ import quiet

    quiet()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert "127.0.0.1" in os.environ["NO_PROXY"]


def test_a_port_that_is_taken_is_passed_over():
    gr = pytest.importorskip("gradio")
    from demo_app.__main__ import TRIES, _launch

    with socket.create_server(("127.0.0.1", 0)) as other, gr.Blocks() as demo:
        port = other.getsockname()[1]
        _launch(demo, port, "127.0.0.1")
        assert port < demo.server_port < port + TRIES
        demo.close()

    def fails(**_):
        raise OSError("another reason")

    with pytest.raises(SystemExit, match="No port from 23860 up is free on 127.0.0.1"):
        _launch(SimpleNamespace(launch=fails), 23860, "127.0.0.1")


def test_programs_edit_answer_and_compare(page):
    """The example of the README."""
    client = visitor(page)
    done = client.predict("The Eiffel Tower", "{} is located in the city of", "xy", "ft",
                          api_name="/edit")  # fmt: skip
    assert done["written"] is True and done["live"] == 1 and done["neighbors_kept"][1] == 4
    assert done["rows"][0]["after"].startswith(" xy") and done["seconds"] > 0
    said = client.predict("The Eiffel Tower is located in the city of", api_name="/answer")
    assert said["after"].startswith(" xy") and not said["before"].startswith(" xy")
    table = client.predict("The Eiffel Tower", "{} is located in the city of", "qz",
                           ["ft", "retrieval"], api_name="/compare")  # fmt: skip
    assert [row["editor"] for row in table] == ["ft", "retrieval"] and table[0]["written"]
    assert client.predict("A", api_name="/answer")["live"] == 1, "comparing keeps nothing"
    weak = client.predict(*TOWER, "qz", "ft", "", "epochs = 1\nlr = 0.000001", api_name="/edit")
    assert weak["written"] is False and weak["live"] == 2, "a program's edit is live in any case"
    shown, *_ = client.predict(
        *TOWER, "qz", *FORM[:2], "lr = 0.000001", False, api_name="/page_edit"
    )
    assert 'data-kept=""' in shown and "did not make the model say “qz”" in shown
    assert client.predict("A", api_name="/answer")["live"] == 2
    held = len(page[1].sessions._all) - 1
    client.close()
    assert until(lambda: len(page[1].sessions._all) == held, 20), "its edits are dropped with it"


def test_errors_reach_the_visitor_as_one_escaped_sentence(page):
    from gradio_client.exceptions import AppError

    client = visitor(page)
    for given, said in (
        (("<b>", "A is", "x"), "'&lt;b&gt;' does not occur"),
        (("A", "A is", " "), "The new answer is empty"),
    ):
        with pytest.raises(AppError) as error:
            client.predict(*given, *FORM, api_name="/page_edit")
        assert said in str(error.value).replace("&#x27;", "'") and "<b>" not in str(error.value)
        with pytest.raises(AppError) as error:
            client.predict(*given, "ft", api_name="/edit")
        assert html.unescape(said) in str(error.value) and "Traceback" not in str(error.value)
    with pytest.raises(AppError, match="no edit to undo"):
        client.predict(api_name="/undo_last")
    with pytest.raises(AppError, match="Unknown editor 'magic'"):
        client.predict(*TOWER, "x", "magic", api_name="/edit")
    client.close()
