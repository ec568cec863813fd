"""Answers to the examples that are kept on disk, and answers that are shown while they grow."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import torch

import lib
from demo_app.html import render
from demo_app.session.growing import Growing
from demo_app.session.studio import Studio
from demo_app.session.views import View
from demo_app.session.visitors import Session
from demo_app.session.worker import Job, Stopped
from demo_app.tabs.edit import Page

from ..support import tiny

pytestmark = pytest.mark.usefixtures("strong_settings")

TOWER = ("The Eiffel Tower", "{} is located in the city of")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Makes studios on the same model, which keep their answers in one folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lm, made = tiny.model("llama"), []

    def make() -> Studio:
        made.append(Studio(lm, keep=True))
        return made[-1]

    make.folder = tmp_path / "model-editing" / "page-answers"
    yield make
    for studio in made:
        studio.close()


def look(studio: Studio, target: str = "Rome", own: str = ""):
    subject = studio.choices.subject(*TOWER, target, own)
    return studio.look(Session(), subject).outcome().rows


def counted(studio: Studio, monkeypatch) -> list[int]:
    runs, backbone = [], studio.lm.backbone
    monkeypatch.setattr(
        studio.lm, "backbone", lambda *given, **more: runs.append(1) or backbone(*given, **more)
    )
    return runs


def run_page(studio: Studio, work) -> list[dict]:
    """What the first tab would show while a job runs and when it has ended, by names of parts."""
    page = SimpleNamespace(studio=studio, headline="headline", table="table")
    page.working = lambda progress, ahead: {"status": progress.words}
    page.rest = lambda session, status, view: {"status": status or "done"}
    page.ready = studio.look(Session(), studio.choices.ready_subject()).outcome()
    request = SimpleNamespace(session_hash="a visitor")
    return list(Page.run(page, request, lambda session: session.submit(studio.worker, work)))


def same(first, second) -> None:
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert (one.group, one.prompt, one.before.text) == (two.group, two.prompt, two.before.text)
        assert torch.equal(one.before.next_token, two.before.next_token)
        assert one.p_before == pytest.approx(two.p_before) and one.old == pytest.approx(two.old)


def test_an_example_is_asked_once_for_all_starts_of_the_page(fresh, monkeypatch):
    first = look(fresh())
    (path,) = fresh.folder.iterdir()
    again, before = fresh(), path.stat().st_mtime_ns
    runs = counted(again, monkeypatch)
    same(first, look(again))
    assert not runs and path.stat().st_mtime_ns == before
    # an edit begins with what was kept, and its own answers are those of a page that keeps nothing
    subject = again.choices.subject(*TOWER, "Rome")
    view = again.edit(Session(), subject, "ft").outcome()
    plain = Studio(again.lm)
    other = plain.edit(Session(), subject, "ft").outcome()
    plain.close()
    assert [row.after.text for row in view.rows] == [row.after.text for row in other.rows]
    assert [row.p_after for row in view.rows] == pytest.approx([row.p_after for row in other.rows])
    assert [row.kl for row in view.rows] == pytest.approx([row.kl for row in other.rows], abs=1e-6)


def test_nothing_that_a_visitor_types_is_written(fresh):
    studio = fresh()
    look(studio, "Nowhere")  # the example's prompts with an answer of the visitor's own
    look(studio, "Rome", "A prompt of mine")
    subject = studio.choices.subject("My cat", "{} is called", "Tom")
    studio.look(Session(), subject).outcome()
    assert not fresh.folder.exists()
    look(studio)
    assert len(list(fresh.folder.iterdir())) == 1
    studio = fresh()
    assert look(studio, "Nowhere")[0].p_before != look(studio)[0].p_before


@pytest.mark.parametrize("harm", ["cut", "empty", "changed", "other", "folder"])
def test_a_damaged_file_is_asked_anew_and_replaced(fresh, harm, monkeypatch):
    first = look(fresh())
    (path,) = fresh.folder.iterdir()
    whole = path.read_bytes()
    if harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        bad = bytearray(whole)
        bad[-3] ^= 1
        new = {"cut": whole[:100], "empty": b"", "changed": bytes(bad), "other": b"{}" * 50}
        path.write_bytes(new[harm])
    again = fresh()
    runs = counted(again, monkeypatch)
    same(first, look(again))
    assert runs, "the model was asked"
    if harm != "folder":
        assert path.read_bytes() == whole


def test_another_model_has_other_files_and_a_full_disk_stops_nobody(fresh, monkeypatch):
    look(fresh())
    other = Studio(tiny.model("gpt2"), keep=True)
    look(other)
    other.close()
    assert len(list(fresh.folder.iterdir())) == 2

    def full(*_):
        raise lib.errors.WriteError("there", 28)

    monkeypatch.setattr("lib.patch.tensor_file.write", full)
    for path in fresh.folder.iterdir():
        path.unlink()
    assert look(fresh())[0].before.text is not None


def test_the_other_examples_are_asked_about_when_nobody_waits(fresh, monkeypatch):
    studio = fresh()
    monkeypatch.setattr("demo_app.session.studio.WARM", ())
    monkeypatch.setattr(studio.own_facts, "warm", lambda job: None)
    few = dict(list(studio.choices.examples.items())[:3])
    monkeypatch.setattr(studio.choices, "examples", few)
    studio.warm_up()
    done = threading.Event()
    studio.worker.whenever(lambda job: done.set())
    assert done.wait(30)
    assert len(list(fresh.folder.iterdir())) == 2  # the ready one is asked about at the start


def test_an_edit_shows_its_rows_while_they_are_asked(fresh, monkeypatch):
    monkeypatch.setattr("demo_app.session.growing.EVERY", 0.0)
    studio, seen = fresh(), []
    show = Job.show
    monkeypatch.setattr(Job, "show", lambda job, view: (seen.append(view), show(job, view)))
    view = studio.edit(Session(), studio.choices.subject(*TOWER, "xy"), "ft").outcome()
    assert len(seen) > 2 and all(isinstance(one, View) for one in seen)
    for row, last in zip(view.rows, seen[-1].rows, strict=True):
        assert row.after.text.startswith(last.after.text.rstrip())
        assert (last.prompt, last.before) == (row.prompt, row.before)
        assert last.good is None and last.p_after is None and last.kl is None
    first = [one.rows[0].after.text for one in seen]
    assert all(first) and all(
        later.startswith(one) for one, later in zip(first, first[1:], strict=False)
    )


def test_the_page_shows_what_there_is_and_keeps_it_at_later_progress(studio):
    seen = []
    subject = studio.choices.subject(*TOWER, "xy")
    view = studio.edit(Session(), subject, "ft").outcome()

    def work(job: Job) -> View:
        job.report(0.3, "writing")
        seen.append(job.progress)
        job.show(view)
        job.report(0.6, "asking")
        seen.append(job.progress)
        time.sleep(0.2)  # longer than the page waits between two looks
        return view

    studio.worker.submit(work).outcome()
    assert seen[0].partial is None
    assert seen[1].partial is view and (seen[1].share, seen[1].words) == (0.6, "asking")
    pages = list(run_page(studio, work))
    assert any("headline" in page and "rows" in page["table"] for page in pages[:-1])


def test_an_edit_that_is_stopped_while_it_is_shown_is_taken_back(studio):
    subject = studio.choices.subject(*TOWER, "xy")
    view = studio.edit(Session(), subject, "ft").outcome()

    def work(job: Job) -> View:
        job.show(view)
        time.sleep(0.2)
        raise Stopped

    *_, shown, last = run_page(studio, work)
    ready = studio.look(Session(), studio.choices.ready_subject()).outcome()
    assert shown["headline"] == render.headline(view) != last["headline"]
    assert last["headline"] == render.headline(ready) and "Stopped" in last["status"]


def test_growing_answers_never_end_an_answer_and_hold_back_half_a_character(studio, monkeypatch):
    monkeypatch.setattr("demo_app.session.growing.EVERY", 0.0)
    heard, rows = [], studio.lm.rows(["a", "b"])[0]
    asks = [("a", False), ("b", False)]
    growing = Growing(studio.lm, asks, rows, heard.append)
    assert growing.of(1)([70, 71]) is False and heard == [], "the first prompt has no answer yet"
    assert growing.of(0)([72]) is False
    assert heard[-1] == dict(zip(asks, studio.lm.texts(rows, [[72], [70, 71]]), strict=True))


def test_the_new_answer_in_the_old_ones_place_is_a_draft(studio):
    asker, ask = studio.asker, ("A prompt", False)
    ids = studio.lm.tokenizer(" in Paris, they say", add_special_tokens=False)["input_ids"]
    asker._drafts[ask] = ids
    drafts = asker._expected(ask, "Rome", "Paris")
    assert drafts[0] == ids
    assert studio.lm.tokenizer.decode(drafts[1]) == " in Rome, they say"
    assert asker._expected(ask, "Rome", "Berlin") == [ids]
    assert asker._expected(ask, "Rome") == asker._expected(ask) == [ids]
    del asker._drafts[ask]
    assert asker._expected(ask, "Rome", "Paris") == []
