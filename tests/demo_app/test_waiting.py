"""What a visitor is told of a wait, and what the page makes before anybody has to wait for it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

import lib
from demo_app.html import opening
from demo_app.session import studio as studios
from demo_app.session.views import Subject, View
from demo_app.session.worker import WAITING, Job, Progress
from lib.cancellation import steps

from ..support import tiny
from ..support.editor_settings import TINY
from .visits import TOWER, until


@pytest.fixture
def needed(monkeypatch, tmp_path):
    """What FT is made to read of the model, with an empty cache."""

    def make(keys):
        for key in steps(keys, "moments"):
            time.sleep(0.2)
            yield key, {"C": torch.eye(2)}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = lib.computed_once.CachedTensors("moments", "of this test", make, 3)
    monkeypatch.setattr(lib.EDITORS["ft"], "statistics", lambda editor, after=None: [found])
    return found


@pytest.mark.usefixtures("strong_settings")
def test_what_must_be_made_first_is_announced(studio, needed, monkeypatch):
    begun = []  # the words with which each part of the job begins
    monkeypatch.setattr(Job, "report", lambda job, _, said: begun.append(said.split(":")[0]))
    subject = Subject(lib.Case(lib.Fact(*TOWER, "b")))
    studio.first_edits.first(Job(None), "ft", subject, lib.EMPTY, {"epochs": 2}, 0.0, 1.0)
    assert needed.is_there()
    assert begun[:2] == ["FT is measuring this model, which is only needed once", "FT is writing"]


def test_who_waits_is_told_how_many_are_ahead_and_for_how_long(studio):
    subject = studio.choices.ready_subject()
    waits = studio.asker.unasked(subject)

    def shown(ahead: int, words: str = WAITING, view: View = waits) -> str:
        work = opening.Work(Progress(0.1, words), ahead, 7.5 * ahead, "ROME", 7.2)
        return opening.rows(view, work)

    assert "Two visitors are ahead of you</h2><small>about 15 s" in shown(2)
    assert "One visitor is ahead of you" in shown(1) and 'data-state="wait"' in shown(1)
    assert "ROME takes about 7 s." in shown(0) and 'data-state="asking"' in shown(0)
    known = replace(waits, rows=tuple(replace(row, before=" Apple.") for row in waits.rows))
    writing = shown(1, "ROME is writing", known)
    assert "While ROME writes" in writing and "One visitor is ahead of you." in writing


def test_the_usual_time_of_a_job_is_that_of_the_last_ones(studio):
    assert studio.worker.submit(lambda job: time.sleep(0.2)).outcome() is None
    for _ in range(3):
        studio.worker.submit(lambda job: time.sleep(0.2)).outcome()
    assert until(lambda: studio.worker.usual > 0.1, 5)


@pytest.mark.slow
def test_from_an_empty_cache_the_page_makes_what_every_offered_editor_reads(monkeypatch):
    """No first edit then waits for statistics: the longest part of it is made beforehand."""
    presets = {name: {"any": row} for name, row in TINY.items()}
    monkeypatch.setattr("lib.editors.shared.config._presets", lambda: presets)
    made, prepared = studios.Studio(tiny.model("llama")), set()
    monkeypatch.setattr(studios, "make_missing", lambda wanted: prepared.update(wanted))

    def warm(job, editor, subject):
        prepared.update(made.choices.editor_class(editor)(made.lm).statistics())

    monkeypatch.setattr(made.first_edits, "warm", warm)
    monkeypatch.setattr(
        made.worker, "in_background", lambda *works: [one(Job(None)) for one in works]
    )
    made.warm_up()
    examples = map(made.choices.ready_subject, made.choices.examples)
    asks = {(p, g == "chat") for one in examples for g, p, _ in made.asker.prompts(one)}
    assert asks == {ask for ask, _ in made.asker._base}
    needs = {name: set(lib.EDITORS[name](made.lm).statistics()) for name in made.choices.editors}
    assert sum(map(bool, needs.values())) >= 8, "most editors read something of the model"
    assert {name for name, wanted in needs.items() if not wanted <= prepared} == set()
    made.close()
