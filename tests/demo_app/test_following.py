"""Which editors can follow the edits that are live: the page says it before the press."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from functools import partial
from html import escape
from types import SimpleNamespace

import gradio as gr
import pytest

import lib
from demo_app.session.consequences import opening
from demo_app.session.editor_settings import of_each
from demo_app.session.views import Column, View
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble
from demo_app.stored.__main__ import blank
from demo_app.stored.examples import Opening, key
from demo_app.tabs.edit import Page
from demo_app.tabs.edit_form import Form

from ..support.editor_settings import quick
from ..support.page import edited
from . import conftest
from .visits import TOWER

PRESETS = {name: {"any": quick(name)} for name in lib.EDITORS if quick(name)}
presets = conftest.presets(PRESETS)  # FT, GRACE and HoReN at one layer, WISE at another
pytestmark = pytest.mark.usefixtures("presets")


def why(studio, editor: str, session: Session) -> str:
    said = lib.EDITORS[editor](studio.lm).refusal(session.patch)
    assert said is not None
    return said


def pressed(studio, session: Session, editors, **more):
    subject = studio.choices.subject(*TOWER, "qz")
    return studio.edit(session, subject, editors, **more)


@pytest.mark.parametrize(
    ("first", "cannot", "can"), [("ft", "grace", "wise"), ("grace", "ft", "wise")]
)
def test_the_list_marks_who_cannot_follow_and_says_why_until_the_edit_is_undone(
    studio, first, cannot, can
):
    form, request = SimpleNamespace(studio=studio), SimpleNamespace(session_hash=first)
    session = studio.sessions.get(first)

    def shown(*ticked: str) -> tuple[set[str], dict[str, str], str]:
        families, blocked = Form.mark(form, list(ticked) or [cannot, can], request)
        items = dict(re.findall(r'data-tick="(.+?)">(.+?)</label>', families))
        return {name for name in items if "cannot be added" in items[name]}, items, blocked

    known = studio.choices.editors
    barred, items, blocked = shown()
    assert not barred and items.keys() == known.keys(), "each stands in a family"
    session.edits = edited(studio, "xy", editor=first).edits
    barred, items, blocked = shown()
    assert barred == {n for n in known if lib.EDITORS[n](studio.lm).refusal(session.patch)}
    assert cannot in barred and can not in barred
    assert escape(why(studio, cannot, session)) in items[cannot]
    assert f"remove the edits by {first}" in items[cannot]
    assert blocked == "" == shown(can)[-1], "one of them can"
    assert f"remove the edits by {first}" in shown(cannot)[-1], "under the line, before a press"
    session.edits = ()
    assert not shown()[0]


def test_a_press_says_it_at_once_and_prepares_nothing(studio, monkeypatch):
    session, ended = edited(studio, "xy"), threading.Event()
    busy = studio.worker.submit(lambda job: ended.wait(60))  # the model is somebody else's

    def never(*_, **__):
        raise AssertionError("statistics were asked for")

    monkeypatch.setattr(lib.EDITORS["grace"], "statistics", never)
    for keep in ("said", "any", "none"):
        with pytest.raises(Trouble) as error:
            pressed(studio, session, "grace", keep=keep)
        assert str(error.value) == why(studio, "grace", session)
    with pytest.raises(Trouble, match="grace cannot follow ft .*horen cannot follow ft "):
        pressed(studio, session, ["grace", "horen"])
    assert not session.jobs and len(session.edits) == 1 and not busy.ended.done()
    ended.set()
    monkeypatch.undo()


def test_another_layer_follows_and_the_others_of_a_comparison_are_made(studio):
    session = edited(studio, "xy")
    aside = pressed(studio, session, "grace", more="layer = 3", keep="none").outcome()
    assert aside.columns[0].patch is not None
    view = pressed(studio, session, ["grace", "rome", "ft"], keep="none").outcome()
    assert [column.patch is None for column in view.columns] == [True, False, False]
    assert view.columns[0].error == why(studio, "grace", session)


def test_a_setting_is_of_the_editor_that_its_line_names_or_of_all_that_are_ticked(studio):
    found = of_each(studio.lm, ["ft", "rome"], "ft.lr = 0.5\nseed = 3\n rome.layer = 1")
    assert found == {"ft": {"lr": 0.5, "seed": 3}, "rome": {"seed": 3, "layer": 1}}
    with pytest.raises(Trouble, match="rome has no setting “lr” to change here"):
        pressed(studio, Session(), ["ft", "rome"], more="lr = 0.5")
    with pytest.raises(Trouble, match="ft has no setting “mend.lr” to change here"):
        pressed(studio, Session(), ["ft"], more="mend.lr = 0.5")
    with pytest.raises(Trouble, match="“ft.” is not a setting"):
        pressed(studio, Session(), ["ft"], more="ft.")


def test_the_text_to_go_on_with_is_about_the_subject_unless_the_visitor_wrote_one(studio):
    page = SimpleNamespace(studio=studio, ready=View(studio.choices.ready_subject(), ()))
    page.examples, request = None, SimpleNamespace(session_hash="writes")
    page.text_for, page.shown = partial(Page.text_for, page), partial(Page.shown, page)
    first = Page.text_for(page, page.ready)
    assert first.startswith("The first version of the iPhone"), "it is of a product"
    assert opening(lib.Fact(*TOWER, "x")).endswith("began when I arrived in"), "of a place"
    assert Page.lead(page, first, first, request) == (first, first)
    subject = studio.choices.subject("Mount Fuji", "{} was climbed by", "Ada")
    studio.sessions.get("writes").view = View(subject, ())
    new = "Let me tell you about Mount Fuji. Mount Fuji"
    assert Page.lead(page, first, first, request) == (new, new)
    assert Page.lead(page, "My own", first, request) == (gr.skip(), gr.skip())


def test_an_example_comes_from_the_store_and_what_was_changed_is_asked(studio):
    found = blank(studio)
    ready, request = studio.choices.ready_subject(), SimpleNamespace(session_hash="looks")
    rows = studio.asker.unasked(ready).rows
    stored = tuple(Column(name, name.upper(), rows) for name in ("ft", "retrieval"))
    found = replace(found, opening={key(ready.case.fact): Opening(stored, "", ())})
    page, ran = SimpleNamespace(studio=studio, examples=found), []
    page.rest = lambda session, wrong, view: view
    page.run = lambda request, start, editors=(): iter([ran.append(start)])
    session = studio.sessions.get("looks")

    def shown(*given):
        return list(Page.look(page, request, *given))[0]

    assert shown(ready).column.editor == "ft" and session.view.stored
    assert shown(ready, ("retrieval",)).column.editor == "retrieval" and not ran
    other = studio.choices.subject(*TOWER, "Oslo")
    own = replace(ready, own=("And?",))
    typed = replace(ready, typed=True)
    asked = [(ready, ("rome",)), (ready, ("ft",), "seed = 3"), (other,), (own,), (typed,)]
    assert [shown(*given) for given in asked] == [None] * 5 and len(ran) == 5
    session.edits = edited(studio, "xy").edits
    assert shown(ready) is None and len(ran) == 6, "an edit of the visitor's is live"
    page.examples = None
    assert shown(other) is None and len(ran) == 7, "a model without a store"
