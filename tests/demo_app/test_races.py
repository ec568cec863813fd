"""A race that is watched: it goes on where it was paused, comes back by its link, and is text."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

import lib
from demo_app.html import render
from demo_app.lifelong import race_picture, races, run, stress_test
from demo_app.lifelong.races import Race, Races
from demo_app.lifelong.stress_test import Line, Point, Test
from demo_app.session.long_run import LongRun
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from demo_app.session.worker import Stopped, Trouble, Worker
from lib.evaluation.answers import begins

from ..support import tiny
from ..support.page import Caller, cases, through

pytestmark = pytest.mark.usefixtures("strong_settings")


def found(test: Test) -> list:
    """What was measured, without how long it took."""
    return [(line.editor, line.edits, line.first, line.points) for line in test.lines]


def planned(studio: Studio, batch: int = 2) -> Test:
    return stress_test.plan(studio.choices, [], cases(), 4, batch)


@pytest.fixture(scope="module")
def whole(studio) -> Test:
    test = planned(studio)
    through(run.run(LongRun(studio, Session()), test))
    return test


@pytest.mark.parametrize("after", [1, 3, 5, 8, 11])
def test_a_paused_race_goes_on_as_if_it_had_not_been_paused(studio, whole, after):
    test, session = planned(studio), Session()
    chain, jobs = LongRun(studio, session), 0
    do = chain.do

    def counted(work):
        nonlocal jobs
        jobs += 1
        if jobs > after:
            chain.stop()
        return (yield from do(work))

    chain.do = counted
    with pytest.raises(Stopped):
        through(run.run(chain, test))
    chain.close()
    assert found(test) != found(whole)
    _, seen = through(run.run(LongRun(studio, session), test))
    assert found(test) == found(whole) and test.base == whole.base
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares) and shares[-1] <= 1
    jobs = 0
    through(run.run(LongRun(studio, session), test))
    assert found(test) == found(whole), "a finished race has nothing left to do"


def test_every_point_holds_what_was_said(studio, whole):
    for line in whole.lines:
        for point in line.points:
            assert set(point.said) == set(range(point.edits))
            for row, right in point.right.items():
                new = whole.cases[row].fact.target_new
                assert begins(point.said[row], new) == right


# ---- the store


def resting(races: Races) -> Race:
    return races.keep(Test([], 1, [Line("ft", "FT")], "classroom"))


def test_races_are_found_by_their_name_for_an_hour_and_no_longer():
    held = Races(most=3, idle=0.2)
    race = resting(held)
    assert held.find(race.token) is race and len(race.token) >= 10
    for wrong in "", "x", None, 3, ["a"], race.token[:-1]:
        with pytest.raises(Trouble, match="kept for an hour"):
            held.find(wrong)
    time.sleep(0.15)
    held.find(race.token)  # looking at it keeps it
    time.sleep(0.15)
    assert held.find(race.token) is race
    time.sleep(0.25)
    with pytest.raises(Trouble, match="kept for an hour"):
        held.find(race.token)
    assert races.IDLE == 3600


def test_too_many_races_drop_the_longest_unseen_that_does_not_run():
    held = Races(most=2)
    first, second = resting(held), resting(held)
    with held.running(first):
        third = resting(held)
        assert len(held) == 2 and held.find(first.token) and held.find(third.token)
        with pytest.raises(Trouble):
            held.find(second.token)


def test_a_race_runs_once_and_its_patches_go_when_it_is_finished():
    held = Races()
    test = Test(cases(), 2, [Line("ft", "FT", patch="a patch"), Line("x", "X", error="ended")], "")
    race = held.keep(test)
    with held.running(race):
        with pytest.raises(Trouble, match="running already"), held.running(race):
            pass
        assert race.runs
    assert not race.runs and not race.finished and test.lines[0].patch == "a patch"
    with pytest.raises(KeyError), held.running(race):
        test.lines[0].edits = 4
        raise KeyError
    assert race.finished and not race.runs and test.lines[0].patch is lib.EMPTY


# ---- the picture


def measured(name: str = "FT") -> Test:
    points = [
        Point(2, {0: True, 1: False}, (True,), 9.0, 0.1, {0: "xy it is", 1: "<b>no"}),
        Point(4, {0: False, 1: False, 2: True}, (True,), 9.0, 0.1, {0: "tardy", 2: "z" * 99}),
    ]
    return Test(cases(), 2, [Line("ft", name, edits=4, points=points)], "classroom")


def test_a_point_shows_its_text_and_what_comes_after_it_is_pale():
    test = measured()
    assert race_picture.counts(test) == [2, 4]
    first, last = race_picture.frame(test, 1), race_picture.frame(test, 2)
    assert "After 2 of 4 edits" in first and "FT 50 %" in first and "xy it is" in first
    assert "tardy" not in first and first.count("<tr>") == 1 + 2
    assert "After 4 of 4 edits" in last and "tardy" in last and "xy it is" not in last
    assert 'class="later"' in first and 'class="later"' not in last
    assert "a later fact says no" in last, "contradicted facts do not count"
    for newest in 0, 3, 10**9, -1:
        assert race_picture.frame(test, newest) == last
    assert race_picture.frame(Test(cases(), 2, [Line("ft", "FT")], "")) == race_picture.NOTHING
    for point in test.lines[0].points:
        point.said.clear()
    assert "<table" not in race_picture.frame(test), "a stored race has no texts"


def test_what_a_model_said_is_escaped_and_cut():
    shown = race_picture.frame(measured("<i>"), 1)
    assert "&lt;b&gt;no" in shown and "<b>no" not in shown and "&lt;i&gt;" in shown
    assert "z" * 40 + "…" in race_picture.frame(measured()) and "<i>" not in shown


# ---- the tab


def test_the_line_of_jobs_is_counted_before_one_presses():
    pytest.importorskip("gradio")
    from demo_app.tabs import race

    worker, free = Worker(), threading.Event()
    one = SimpleNamespace(worker=worker)
    assert "Nobody is before you" in race.ahead(one)
    jobs = [worker.submit(lambda job: free.wait(10)) for _ in range(3)]
    assert worker.waiting() == 3 and "3 jobs of other visitors are before you" in race.ahead(one)
    jobs[-1].stop()
    assert worker.waiting() == 2
    free.set()
    for job in jobs[:2]:
        job.outcome()
    worker.submit(lambda job: None).outcome()
    until = time.monotonic() + 5
    while worker.waiting() and time.monotonic() < until:
        time.sleep(0.01)
    assert worker.waiting() == 0
    worker.close()


def test_a_race_is_paused_goes_on_and_is_shown_to_who_has_the_link(studio, monkeypatch):
    gr = pytest.importorskip("gradio")
    from demo_app.tabs import lifelong, long_runs

    monkeypatch.setattr(long_runs, "EVERY", 0.0)
    monkeypatch.setattr(lifelong, "handed_out", lambda session, button, path: str(path))
    monkeypatch.setattr(lifelong.figures, "curves", lambda test: SimpleNamespace(savefig=str))
    monkeypatch.setattr(lifelong.figures, "raster", lambda test: SimpleNamespace(savefig=str))
    monkeypatch.setattr(lifelong, "shown", lambda test: tuple("abcde"))
    visitor, guest = SimpleNamespace(session_hash="one"), SimpleNamespace(session_hash="two")
    with gr.Blocks():
        tab = lifelong.Lifelong(studio)
    width = 12 + len(tab.watch.outputs)
    for outputs in tab.run([], 4, 1, None, visitor):
        assert len(outputs) == width
        session = studio.sessions.get("one")
        if session.race is not None and session.race.test.lines[1].points:
            tab.running.stop(visitor, "test")
    race: Race = studio.sessions.get("one").race
    assert not race.runs and not race.finished and "paused" in outputs[0]
    picture, slider, on, link = outputs[12:]
    assert "edits, facts still said" in picture and on.visible and race.token in link
    with pytest.raises(gr.Error, match="no race here yet"):
        list(tab.go_on(guest))
    studio.sessions.get("two").race = tab.watch.races.find(race.token)
    *_, outputs = tab.go_on(guest)
    assert race.finished and "4 of 4 edits (classroom)" in outputs[0] and "paused" not in outputs[0]
    assert not outputs[14].visible and "Go on" not in render.done(outputs[0])
    with tab.watch.races.running(race), pytest.raises(gr.Error, match="running already"):
        list(tab.go_on(visitor))
    for name in "one", "two":
        studio.sessions.drop(name)


def test_the_address_of_a_race_opens_it_for_somebody_else(monkeypatch):
    pytest.importorskip("gradio")
    from demo_app.__main__ import free_port, open_page

    kept: list[Races] = []
    made = Races.__init__
    monkeypatch.setattr(Races, "__init__", lambda self: (made(self), kept.append(self))[0])
    demo, studio = open_page(tiny.model("llama"), free_port(21860, "127.0.0.1"))
    try:
        race = kept[0].keep(measured())
        race.test.base = Point(0, {}, (True,), 9.0, 0.0)
        for name, query in ("guest", race.token), ("late", "gone"):
            caller = Caller(demo.local_url, name)
            found = caller.http.get("/config").json()["dependencies"]
            (entry,) = [one["id"] for one in found if one["api_name"] == "reopen_race"]
            body = {"session_hash": name, "data": [], "fn_index": entry}
            sent = caller.http.post(f"/gradio_api/queue/join?race={query}", json=body)
            assert sent.status_code == 200, sent.text
            (said,) = caller.answers(1).values()
            if query == race.token:
                assert said["success"], said["output"]
                assert studio.sessions.get(name).race is race
            else:
                assert not said["success"] and "kept for an hour" in str(said["output"])
    finally:
        demo.close()
        studio.close()
