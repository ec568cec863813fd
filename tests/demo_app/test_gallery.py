"""The gallery: every link makes the edits that it states, and what is stated was measured."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import lib
from demo_app.session import gallery
from demo_app.session.gallery import Exhibit, Step
from demo_app.session.visitors import Session
from demo_app.tabs.gallery import opened
from tests.benchmarks.make_gallery import EXHIBITS

from .visits import TOWER

pytestmark = pytest.mark.usefixtures("strong_settings")

HELD = gallery.gallery()


def test_what_is_stored_is_what_the_script_measures_and_all_of_it_came_true():
    assert len(HELD.exhibits) >= 12 and len(HELD.fingerprint) >= 16
    wanted = {one.key: (one, expected) for one, expected in EXHIBITS}
    for shown in HELD.exhibits:
        one, expected = wanted[shown.key]
        assert replace(shown, said=()) == one, "the sentence changed since: measure"
        assert [said.prompt for said in shown.said] == [what.prompt for what in expected]
        assert all(what.holds(said) for what, said in zip(expected, shown.said, strict=True))
        assert re.fullmatch(r"[a-z-]+", shown.key)
    assert len({one.key for one in HELD.exhibits}) == len(HELD.exhibits)


def test_every_edit_can_be_asked_of_the_page(studio):
    for shown in HELD.exhibits:
        subject = gallery.subject(studio, shown)
        asked = {(prompt, group) for group, prompt, _ in subject.prompts}
        said = {(one.prompt, one.group) for one in shown.said if one.group != "chat"}
        assert said <= asked, shown.key
        for step in shown.steps:
            assert step.editor in lib.EDITORS
        assert opened(studio, shown).fact[0] == shown.steps[0].subject


def test_an_address_finds_its_exhibit_and_no_other():
    assert gallery.found({"gallery": HELD.exhibits[0].key}) is HELD.exhibits[0]
    for wrong in {}, {"gallery": ""}, {"gallery": "../x"}, {"gallery": ["not"]}, {"gallery": None}:
        assert gallery.found(wrong) is None


def small(*steps: Step) -> Exhibit:
    return Exhibit("small", "A *title*", "<b>Tower</b>", steps, ("The tower is",))


def test_edits_are_made_in_their_order_and_asked_about_the_first_fact(studio):
    shown = small(
        Step("ft", *TOWER, "xy"), Step("ft", "Big Ben", "{} is in", "qz"), Step("ft", others=3)
    )
    session = Session()
    views = [start(session).outcome() for start in gallery.plan(studio, shown)]
    assert [len(edit.line) for edit in session.edits] == [1, 1, 3]
    assert views[-1] is session.view and views[-1].subject.case.fact.subject == TOWER[0]
    assert TOWER[0] not in {fact.subject for fact in session.edits[-1].line.facts}
    undone = studio.revisions.undo(session).outcome()
    assert "byte-identical" in undone.undone
    two = small(Step("ft", *TOWER, "xy"), Step("ft", "Big Ben", "{} is in", "qz"))
    for start in gallery.plan(studio, two):
        view = start(session).outcome()
    assert view.subject.case.fact.subject == TOWER[0], "the last job asks about the first fact"
