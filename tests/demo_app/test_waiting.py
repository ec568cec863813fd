"""What a visitor is told of a wait, and what the page makes before anybody has to wait for it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

import lib
from demo_app.session import studio as studios
from demo_app.session.views import Subject
from demo_app.session.worker import Job
from demo_app.tabs import edit
from lib.cancellation import steps

from ..support import tiny
from ..support.editor_settings import TINY
from .visits import TOWER


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
    assert begun[:2] == ["FT reads what it needs of this model, once", "FT is writing"]


def test_who_chooses_an_editor_cannot_press_edit_before_it_is_prepared(studio, needed):
    page = SimpleNamespace(studio=studio, form=SimpleNamespace(wait="wait", go="go"))

    def seen() -> list[tuple]:
        shown = edit.Page.prepare(page, ["ft"], SimpleNamespace(session_hash="x"))
        return [(one["wait"], one["go"].interactive if "go" in one else None) for one in shown]

    first, again = seen(), seen()
    assert any("reads what it needs" in bar and free is False for bar, free in first)
    assert needed.is_there() and first[-1] == again[-1] == ("", True)
    assert all(bar == "" for bar, _ in again), "it is made once"
    assert studio.prepare(studio.sessions.get("y"), None).outcome() is None


@pytest.mark.slow
def test_from_an_empty_cache_the_page_makes_what_every_offered_editor_reads(monkeypatch):
    """No first edit then waits for statistics: the longest part of it is made beforehand."""
    presets = {name: {"any": row} for name, row in TINY.items()}
    monkeypatch.setattr("lib.editors.shared.config._presets", lambda: presets)
    made, prepared = studios.Studio(tiny.model("llama")), set()
    monkeypatch.setattr(studios, "make_missing", lambda wanted: prepared.update(wanted))

    def warm(job, editor, subject):
        prepared.update(made.choices.kind(editor)(made.lm).statistics())

    monkeypatch.setattr(made.first_edits, "warm", warm)
    monkeypatch.setattr(made.worker, "whenever", lambda *works: [one(Job(None)) for one in works])
    made.warm_up()
    examples = map(made.choices.ready_subject, made.choices.examples)
    asks = {(p, g == "chat") for one in examples for g, p, _ in made.asker.prompts(one)}
    assert asks == {ask for ask, _ in made.asker._base}
    needs = {name: set(lib.EDITORS[name](made.lm).statistics()) for name in made.choices.editors}
    assert sum(map(bool, needs.values())) >= 8, "most editors read something of the model"
    assert {name for name, wanted in needs.items() if not wanted <= prepared} == set()
    made.close()
