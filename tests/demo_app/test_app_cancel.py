"""Every long run of the page ends at its next step, wherever it is stopped, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import lib
from demo_app.inside import layers_of_a_fact
from demo_app.lifelong import run, stress_test
from demo_app.session import take_away
from demo_app.session.interference import Forecasts
from demo_app.session.long_run import LongRun
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from demo_app.session.worker import Job, Stopped
from lib import stored
from lib.keys_values import second_moment

from ..support.page import cases, edited, through

ROWS = {
    "ft": {"any": {"layer": 2, "lr": 2e-2, "epochs": 20, "target_eos": False}},
    "rome": {"any": {"layer": 1, "second_moment": True}},
    "wilke": {"any": {"layers": [0, 1, 2], "steps": 2, "contexts": []}},
}


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Presets for a random model, and nothing in the cache."""
    monkeypatch.setattr("lib.editors.shared.config._presets", lambda: ROWS)
    short = "alpha", "{} is", "xy"
    monkeypatch.setattr(layers_of_a_fact, "subject_of", lambda choices, _: choices.subject(*short))

    def clear() -> None:
        monkeypatch.setattr(stored, "cache_folder", lambda: tmp_path / f"cache{len(folders)}")
        folders.append(None)
        stored.forget()

    folders: list[None] = []
    return clear


def stress(studio, session, folder):
    through(run.run(LongRun(studio, session), stress_test.plan(studio.choices, [], cases(), 2, 1)))


def whole_model(studio, session, folder):
    through(take_away.make(LongRun(studio, session), "model", folder))


def adapter(studio, session, folder):
    through(take_away.make(LongRun(studio, session), "adapter", folder))


def trace(studio, session, folder):
    through(layers_of_a_fact.traced(LongRun(studio, session)))


def first_moments(studio, session, folder):
    through(layers_of_a_fact.wise_layers(LongRun(studio, session)))


def predict(studio, session, folder):
    subject = studio.choices.subject("alpha", "{} is", "qz")
    Forecasts(studio).predict(session, subject, "rome").outcome()


def measure(studio, session, folder):
    Forecasts(studio).measure(session).outcome()


def edit(studio, session, folder):
    for kept in studio.first_edits.made, studio.asker._base, studio.asker._chance:
        kept.clear()
    subject = studio.choices.subject("bravo", "{} is", "qz")
    studio.edit(session, subject, ["ft", "retrieval"], keep_none=True).outcome()


@pytest.mark.parametrize(
    ("start", "steps"),  # how often it must ask at least: this bounds what one step is
    [(stress, 300), (whole_model, 2), (adapter, 2), (trace, 100), (first_moments, 30),
     (predict, 6), (measure, 100), (edit, 100)],
)  # fmt: skip
def test_a_long_run_ends_at_its_next_step(studio, start, steps, fresh, monkeypatch, tmp_path):
    lm, check, state = studio.lm, Job.check, {"asked": 0, "stop": 0, "late": 0}

    def asked(job, *given):
        state["asked"] += 1
        state["late"] += 0 < state["stop"] < state["asked"]
        if state["asked"] == state["stop"]:
            session.stop()
        return check(job, *given)

    def begin(stop: int) -> tuple[Studio, Session, Path]:
        nonlocal session
        fresh()
        studio.asker._drafts.clear()  # or the same would be asked in fewer steps
        session = edited(studio, "xy")
        folder = tmp_path / f"out{stop}"
        folder.mkdir()
        state.update(asked=0, stop=stop, late=0)
        return studio, session, folder

    session = Session()
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
        assert not list(given[2].iterdir()), "a folder that is half written"
        assert all(len(block._forward_pre_hooks) == 0 for block in lm.blocks)
        assert [(n, p.data_ptr()) for n, p in lm.model.named_parameters()] == before
    for hook in hooks:
        hook.remove()


def test_products_of_many_layers_are_asked_between(studio, fresh, monkeypatch):
    """C of several layers comes from one pass: no block runs between their products."""
    fresh()
    lm, asked = studio.lm, []
    with lib.cancellation.cancellable(lambda: asked.append(1)):
        second_moment.second_moment(lm, [0, 1, 2], tokens=2000)
    assert len(asked) >= 3 + 3, "for each layer its product, and its factor"
