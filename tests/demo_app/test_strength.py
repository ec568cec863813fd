"""The strength of the last edit: the slider, and what the list makes of it."""

from __future__ import annotations

import pytest
import torch

import lib
from demo_app.html.edit_history import choices
from demo_app.session import take_away
from demo_app.session.strength import Strengths
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble

pytestmark = pytest.mark.usefixtures("strong_settings")
TOWER = ("The Eiffel Tower", "{} is located in the city of")


def edit(studio, session, target="xy", editor="ft"):
    return studio.edit(session, studio.choices.subject(*TOWER, target), editor).outcome()


def test_the_slider_scales_the_live_edit_and_comes_back_exactly(studio):
    session, strengths = Session(), Strengths(studio)
    edit(studio, session)
    whole = session.patches[-1]
    view = strengths.set(session, 0.5).outcome()
    name = next(iter(whole.weights))
    base, full = studio.lm.weight(name), studio.lm.weight(name, whole)
    half = studio.lm.weight(name, session.patches[-1])
    torch.testing.assert_close(half, (base + full) / 2, atol=1e-5, rtol=1e-4)
    assert view.live == 1 and strengths.present(session) == 0.5
    assert "strength 0.5" in choices(session.edits)[0][0]
    code = take_away.code(studio, session)
    assert "lib.scaled(lm, patch, 0.5, before)" in code
    strengths.set(session, 0.0).outcome()
    assert torch.equal(studio.lm.weight(name, session.patches[-1]), base)
    strengths.set(session, 1.0).outcome()
    assert session.patches[-1] is whole and not session.wholes
    assert "scaled" not in take_away.code(studio, session)


def test_a_switch_keeps_the_strength(studio):
    session, strengths = Session(), Strengths(studio)
    edit(studio, session)
    edit(studio, session, "qz")
    strengths.set(session, 2.0).outcome()
    doubled, numbers = session.patches[-1], [one.number for one in session.edits]
    studio.revisions.switch(session, numbers[1:]).outcome()
    assert session.edits[1].strength == 2.0 and len(session.patches) == 1
    name, alone = next(iter(doubled.weights)), session.patches[-1]
    whole = session.wholes[(numbers[1],)]
    base = studio.lm.weight(name)
    gap = studio.lm.weight(name, alone) - base
    torch.testing.assert_close(
        gap, 2 * (studio.lm.weight(name, whole) - base), atol=1e-4, rtol=1e-3
    )
    studio.revisions.switch(session, numbers).outcome()
    assert session.patches[-1] is doubled
    edit(studio, session, "xy")
    assert strengths.present(session) == 1.0, "the next edit has its own"


def test_a_routed_edit_has_none_and_wrong_numbers_are_one_sentence(studio):
    session, strengths = Session(), Strengths(studio)
    with pytest.raises(Trouble, match="no edit whose strength"):
        strengths.set(session, 0.5).outcome()
    edit(studio, session, editor="retrieval")
    with pytest.raises(Trouble, match="has no strength"):
        strengths.set(session, 0.5).outcome()
    for wrong in (None, "1", float("nan"), True, [1]):
        with pytest.raises(Trouble, match="The strength should be a number"):
            strengths.set(session, wrong)
    edit(studio, session)
    strengths.set(session, 1e8).outcome()
    assert strengths.present(session) == 2.0, "more than there is becomes the most"


def test_a_stopped_change_leaves_the_list_as_it_was(studio, monkeypatch):
    session, strengths = Session(), Strengths(studio)
    edit(studio, session)
    before = list(session.patches), dict(session.folds), dict(session.points)

    def stopped(*given, **more):
        raise lib.EditError("stopped in the middle")

    monkeypatch.setattr(studio.asker, "look", stopped)
    with pytest.raises(Trouble, match="stopped in the middle"):
        strengths.set(session, 0.5).outcome()
    assert (session.patches, session.folds, session.points) == before
    assert strengths.present(session) == 1.0 and not session.wholes
