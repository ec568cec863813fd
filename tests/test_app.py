"""The demo: what visitors may do, without Gradio; then a real server with two visitors at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import lib
from demo_app import render
from demo_app.compare import Answer, Row, Subject, View, first_sentence
from demo_app.session import EDITS, Studio
from demo_app.visitors import Session, Sessions
from demo_app.worker import Stopped, Trouble, Worker

from . import tiny

ROOT = Path(__file__).parents[1]
TOWER = ("The Eiffel Tower", "{} is located in the city of")


@pytest.fixture(scope="module", autouse=True)
def strong_settings():
    """Random models are moved by large steps only."""
    with pytest.MonkeyPatch.context() as patch:
        row = {"layer": 2, "lr": 2e-2, "epochs": 60, "target_eos": False}
        patch.setattr("lib.editor._presets", lambda: {"ft": {"any": row}})
        yield


@pytest.fixture(scope="module")
def studio():
    made = Studio(tiny.model("llama"))
    yield made
    made.close()


def edit(studio, session, target="xy", editor="ft", **settings) -> View:
    subject = studio.subject(*TOWER, target)
    return studio.edit(session, subject, editor, **settings).outcome()


# ---- the form


def test_the_examples_are_classroom_cases_and_the_tower_is_ready(studio):
    assert studio.ready == "The Eiffel Tower → Rome"
    assert studio.example(studio.ready).id == 0
    assert 12 <= len(studio.examples) <= 40 and len(set(studio.examples)) == len(studio.examples)


def test_every_editor_is_offered_with_a_sentence(studio):
    for name, (label, sentence) in studio.editors().items():
        assert label and sentence.endswith(".") and "\n" not in sentence, name
        assert set(studio.settings(name)) == {"layer", "steps"}
    assert studio.editors()["ft_l"][0] == "FT-L"
    assert studio.settings("retrieval") == {"layer": None, "steps": None}


def test_a_classroom_fact_brings_its_own_prompts_whatever_its_new_answer(studio):
    found = studio.subject("The Eiffel Tower", "The Eiffel Tower is located in the city of", "Oslo")
    assert found.borrowed is None and found.case.id == 0
    assert found.case.fact.target_new == "Oslo" and len(found.case.paraphrases) == 2


def test_a_typed_fact_borrows_neighbors_of_the_same_kind(studio):
    found = studio.subject("Devin Castle", "Devin Castle is located in the city of", "Oslo",
                           "Where is it?\n\n Where is it? \nAnd?")  # fmt: skip
    assert found.own == ("Where is it?", "And?") and not found.case.paraphrases
    lender = next(c for c in studio.cases.values() if c.fact.subject == found.borrowed)
    assert lender.relation == "located in the city of"
    assert found.case.neighborhood == lender.neighborhood
    assert {group for group, *_ in found.prompts} == {"edit", "own", "neighbor", "unrelated"}


def test_a_question_like_no_other_borrows_from_the_tower(studio):
    assert studio.subject("Nobody", "{} snores", "x").borrowed == "The Eiffel Tower"


def test_borrowed_neighbors_never_name_the_subject(studio):
    found = studio.subject("Big Ben", "Tourists go to {} in the city of", "Oslo")
    assert not any("Big Ben" in probe.prompt for probe in found.case.neighborhood)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("", "{} is", "x"), "subject is empty"),
        (("A", "  ", "x"), "prompt is empty"),
        (("A", "{} is", ""), "new answer is empty"),
        (("A", "{} is", None), "new answer is empty"),
        (("Eifel", "The Eiffel Tower is in", "Rome"), "does not occur in the prompt"),
        (("A", "A and A are", "x"), "more than once"),
        (("A", "{} and {} are", "x"), "exactly one"),
        (("A", "{} is " + "very " * 200, "x"), "takes up to 600"),
        (("A", "{} is", "x", "\n".join(map(str, range(9)))), "too many"),
        (("A", "{} is", "x", "w" * 700), "takes up to 600"),
    ],
)
def test_bad_input_is_told_in_one_sentence(studio, given, said):
    with pytest.raises(Trouble, match=said) as error:
        studio.subject(*given)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_what_is_not_there_is_named(studio):
    for ask in (lambda: studio.example("x"), lambda: studio.kind("magic")):
        with pytest.raises(Trouble, match="There is no"):
            ask()
    subject = studio.subject(*TOWER, "xy")
    with pytest.raises(Trouble, match="1 to 100"):
        studio.edit(Session(), subject, "ft", steps=0)
    with pytest.raises(Trouble, match="layer 99 does not exist"):
        studio.edit(Session(), subject, "ft", layer=99).outcome()


# ---- edit, undo, write


def test_an_edit_is_measured_and_undone_exactly(studio):
    session, before = Session(), {n: p.clone() for n, p in studio.lm.model.named_parameters()}
    seen = studio.look(session, studio.subject(*TOWER, "xy")).outcome()
    assert seen.rows[0].after is None and seen.live == 0
    view = edit(studio, session)
    row = view.rows[0]
    assert view.tally("edit") == (1, 1) and row.p_after > 10 * row.p_before and row.kl > 0
    assert view.seconds > 0 and view.live == len(session.patches) == 1
    again = edit(studio, session, "qz")
    assert again.rows[0].before.text == row.before.text, "before is always the base model"
    undone = studio.undo(session).outcome()
    assert undone.live == 1 and "1 edit of yours still live" in undone.note
    last = studio.undo(session).outcome()
    assert session.patches == [] and "byte-identical" in last.note and "9 of 9" in last.note
    assert all(row.kl == 0 and row.good is not False for row in last.rows[3:])
    assert all(torch.equal(p, before[n]) for n, p in studio.lm.model.named_parameters())
    with pytest.raises(Trouble, match="no edit to undo"):
        studio.undo(session).outcome()


def test_undo_all(studio):
    session = Session()
    for target in ("xy", "qz"):
        edit(studio, session, target, "retrieval")
    view = studio.undo(session, everything=True).outcome()
    assert session.patches == [] and view.undone and view.live == 0


def test_an_answer_the_model_gives_already_is_a_warning(studio):
    session = Session()
    edit(studio, session)
    assert "already answered “xy”" in edit(studio, session).note
    assert len(session.patches) == 2


def test_a_failed_edit_changes_nothing(studio):
    session = Session()
    edit(studio, session)
    held = session.patch
    subject = studio.subject("A", "{} " + "w" * 300, "xy")  # the tiny model reads 256 tokens
    with pytest.raises(Trouble, match="exceeds the context"):
        studio.edit(session, subject, "ft").outcome()
    assert session.patch is held


def test_there_is_a_bound_on_edits(studio):
    session = Session(patches=[lib.EMPTY] * EDITS)
    with pytest.raises(Trouble, match="as many as one visitor may have"):
        edit(studio, session)


def test_visitors_never_see_each_others_edits(studio):
    one, two, three = Session(), Session(), Session()
    subjects = [studio.subject(*TOWER, target) for target in ("xy", "qz")]
    jobs = [studio.edit(s, subject, "ft") for s, subject in zip((one, two), subjects, strict=True)]
    jobs += [studio.look(three, subjects[0]), studio.write(one, "The Eiffel", False),
             studio.write(three, "The Eiffel", False)]  # fmt: skip
    first, second, looked, wrote, plain = [job.outcome() for job in jobs]
    assert first.tally("edit") == second.tally("edit") == (1, 1)
    assert looked.rows[0].after is None and plain.after is None and plain.live == 0
    assert wrote.before == plain.before and wrote.live == 1
    with studio.lm.patched(one.patch):
        answer = studio.lm.answer("The Eiffel", 60)
    assert len(wrote.after) > 20 and answer.startswith(wrote.after.removesuffix(" …"))


def test_a_free_prompt_must_have_text(studio):
    with pytest.raises(Trouble, match="empty"):
        studio.write(Session(), "  ", False)
    with pytest.raises(Trouble, match="no chat template"):
        studio.write(Session(), "Hello", True).outcome()


# ---- the worker


def test_stopping_an_edit_changes_nothing(studio):
    session = Session()
    job = studio.edit(session, studio.subject(*TOWER, "xy"), "ft", steps=100)
    while "writing" not in job.progress.words:
        time.sleep(0.001)
    session.stop()
    with pytest.raises(Stopped):
        job.outcome()
    assert session.patches == [] and not studio.lm.blocks[-1]._forward_pre_hooks


def test_progress_goes_up_and_a_waiting_job_ends_at_once():
    worker, gate = Worker(), threading.Event()

    def slow(job):
        for i in range(3):
            job.report(i / 3, f"step {i}")
        gate.wait(5)
        return "done"

    busy, waiting = worker.submit(slow), worker.submit(lambda job: 1)
    assert worker.ahead(waiting) == 1
    waiting.stop()
    with pytest.raises(Stopped):
        waiting.outcome()
    gate.set()
    shares = [progress.share for progress in busy.watch()]
    assert shares == sorted(shares)
    assert busy.outcome() == "done"
    worker.close()


def test_errors_become_sentences_and_unknown_ones_tell_nothing(caplog):
    worker = Worker()

    def fail(error):
        def work(job):
            raise error

        return worker.submit(work)

    with pytest.raises(Trouble, match="^too bad$"):
        fail(lib.EditError("too bad")).outcome()
    with pytest.raises(Trouble, match="Something failed inside") as told:
        fail(RuntimeError("secret path /x")).outcome()
    assert "secret" not in str(told.value) and "secret" in caplog.text
    worker.close()


def test_visitors_are_bounded_in_number_and_time():
    sessions = Sessions(most=2, idle=100)
    first, second = sessions.get("a"), sessions.get("b")
    assert sessions.get("a") is first
    sessions.get("c")
    assert len(sessions) == 2 and sessions.get("a") is first
    first.seen -= 1000
    sessions.get("d")
    assert sessions.get("b") is not second
    sessions.drop("d")
    sessions.drop("nobody")


# ---- how it looks


def test_numbers_have_three_digits():
    shown = {
        0.97444: "0.974",
        0.01234: "0.0123",
        1.0: "1.00",
        0.99981: "1.00",
        13.04: "13.0",
        0.0: "0",
        250.0: "250",
    }
    assert {value: render.number(value) for value in shown} == shown
    assert render.number(4.512e-6) == "4.51·10<sup>−6</sup>"
    assert render.number(None) == "–" and render.number(float("inf")) == "∞"
    assert render.number(9.999e-5) == "1.00·10<sup>−4</sup>"


def test_sentences_and_marks():
    assert first_sentence(" Rome, Italy. The Eiffel") == "Rome, Italy."
    assert (
        first_sentence("\n Paris.\n\nThe") == "Paris." and first_sentence(" a dough") == "a dough …"
    )
    assert first_sentence("") == ""
    assert render.marked("in Paris now", "in <Rome> now") == "in <mark>&lt;Rome&gt;</mark> now"


def test_everything_a_visitor_wrote_is_escaped():
    bad = "<script>'\"&"
    answer = Answer(bad, torch.zeros(2))
    fact = lib.Fact(bad, "{} is", bad)
    rows = (Row("edit", bad, answer, 0.1, answer, 0.2, 0.3, True, "new answer"),)
    view = View(Subject(lib.Case(fact), bad, (bad,)), rows, 1, "ROME", 1.0, note=bad)
    said = render.Written(bad, bad, 1)
    shown = [render.headline(view), render.status(view), render.table(view), render.sorry(bad),
             *render.written(bad, said, True, False), render.header(bad, 1)]  # fmt: skip
    assert "<script" not in "".join(shown) and "&lt;script&gt;" in shown[0]


def test_the_logic_does_not_import_gradio():
    code = "import sys, demo_app.session, demo_app.render; assert 'gradio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# ---- a real server


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("gradio")
    from demo_app.__main__ import free_port, open_page

    with pytest.MonkeyPatch.context() as env:
        env.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.2")  # a closed client is noticed at once
        demo, studio = open_page(tiny.model("llama"), free_port(17860, "127.0.0.1"))
        yield demo.local_url, studio
        demo.close()
        studio.close()


def visitor(page):
    from gradio_client import Client

    return Client(page[0], verbose=False)


ASKED = ("ft", "", None, None)  # editor, own prompts, layer, steps


def test_a_taken_port_is_passed_over(page):
    from demo_app.__main__ import free_port, quiet

    port = int(page[0].rstrip("/").rsplit(":", 1)[1])
    assert free_port(port, "127.0.0.1") > port
    quiet()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert "127.0.0.1" in os.environ["NO_PROXY"]


def test_two_visitors_at_once(page):
    one, two = visitor(page), visitor(page)
    jobs = [
        c.submit(*TOWER, target, *ASKED, api_name="/edit")
        for c, target in ((one, "xy"), (two, "qz"))
    ]
    for job, mine, other in zip(jobs, ("xy", "qz"), ("qz", "xy"), strict=True):
        status, headline, table, live, *_ = job.result()
        assert "wrote it: <strong>yes" in status and "1 edit live" in live
        assert f"<mark>{mine}" in table and other not in headline
    assert any("progressbar" in str(step[0]) for step in jobs[0].outputs())
    assert "0 edits live" in one.predict(api_name="/undo_all")[3]
    status, _, table, live, *_ = two.predict("The Eiffel Tower → Rome", api_name="/look")
    assert "1 edit live" in live and "your edits so far" in status and "<mark>" in table
    status, _, table, live, *_ = one.predict("The Eiffel Tower → Rome", api_name="/look")
    assert "0 edits live" in live and "After" not in table
    before, after = one.predict("The Eiffel", False, api_name="/write")
    assert "No edit is live" in after
    both = two.predict("The Eiffel", False, api_name="/write")
    assert both[0] == before and "After 1 edit" in both[1]
    held = len(page[1].sessions)
    one.close(), two.close()
    until = time.monotonic() + 10
    while len(page[1].sessions) > held - 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(page[1].sessions) == held - 2, "closing the page drops the visitor's edits"


def test_errors_reach_the_visitor_as_one_escaped_sentence(page):
    from gradio_client.exceptions import AppError

    client = visitor(page)
    for given, said in (
        (("<b>", "A is", "x"), "&lt;b&gt;"),
        (("A", "A is", " "), "new answer is empty"),
    ):
        with pytest.raises(AppError, match=said) as error:
            client.predict(*given, *ASKED, api_name="/edit")
        assert "Traceback" not in str(error.value) and "<b>" not in str(error.value)
    with pytest.raises(AppError, match="no edit to undo"):
        client.predict(api_name="/undo_last")
    client.close()
