"""Every long run of the page ends at its next step, wherever it is stopped, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo_app.lifelong import run, stress_test
from demo_app.session import interference, layers, take_away
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from demo_app.session.worker import Job, Stopped
from lib import computed_once

from ..support.page import cases, edited

ROWS = {
    "ft": {"any": {"layer": 2, "lr": 2e-2, "epochs": 20, "target_eos": False}},
    "rome": {"any": {"layer": 1, "second_moment": True}},
}


def stress(studio, session, folder):
    test = stress_test.plan(studio.choices, [], cases(), 4)
    session.submit(studio.worker, lambda job: run.run(job, studio.lm, test)).outcome()


def whole_model(studio, session, folder):
    take_away.make(studio, session, "model", folder).outcome()


def look(studio, session, folder):
    layers.compare(studio, session).outcome()


def measure(studio, session, folder):
    interference.measure(studio, session).outcome()


def edit(studio, session, folder):
    subject = studio.choices.subject("bravo", "{} is", "qz")
    studio.edit(session, subject, ["ft", "retrieval"], keep="none").outcome()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "steps"),  # how often it must ask at least: this bounds what one step is
    [(stress, 150), (whole_model, 2), (look, 10), (measure, 100), (edit, 100)],
)
def test_a_long_run_ends_at_its_next_step(studio, start, steps, monkeypatch, tmp_path):
    lm, check, state = studio.lm, Job.check, {"asked": 0, "stop": 0, "late": 0}

    def asked(job, *given):
        state["asked"] += 1
        state["late"] += 0 < state["stop"] < state["asked"]
        if state["asked"] == state["stop"]:
            session.stop()
        return check(job, *given)

    def begin(stop: int) -> tuple[Studio, Session, Path]:
        nonlocal session
        cache, folder = (tmp_path / f"{name}{stop}" for name in ("cache", "out"))
        folder.mkdir()
        monkeypatch.setattr(computed_once, "cache_folder", lambda: cache)
        studio.lm._kept.clear()
        asker, facts = studio.asker, studio.own_facts  # what they keep would spare steps
        for kept in studio.first_edits.made, asker._base, asker._chance, facts._found:
            kept.clear()
        session = edited(studio, "xy")
        state.update(asked=0, stop=stop, late=0)
        return studio, session, folder

    session = Session()
    monkeypatch.setattr("lib.editors.shared.config._presets", lambda: ROWS)
    monkeypatch.setattr(Job, "check", asked)
    start(*begin(0))
    total = state["asked"]
    assert total >= steps, "what runs between two questions would be too long"
    ran = []
    hooks = [b.register_forward_hook(lambda *_: ran.append(state["late"])) for b in lm.blocks]
    before = [(n, p.data_ptr()) for n, p in lm.model.named_parameters()]
    for stop in sorted({1, max(1, total // 2), total - 1}):
        given = begin(stop)
        ran.clear()
        with pytest.raises(Stopped):
            start(*given)
        blocks = len(ran)
        studio.worker.submit(lambda job: None).outcome()  # what was stopped has left the model
        assert state["late"] <= 1 and len(ran) == blocks, stop
        assert all(len(block._forward_pre_hooks) == 0 for block in lm.blocks)
        assert [(n, p.data_ptr()) for n, p in lm.model.named_parameters()] == before
    for hook in hooks:
        hook.remove()
