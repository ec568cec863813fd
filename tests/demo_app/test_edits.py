"""The list of a visitor's edits: one is taken out, made weaker, or undone, and what it says."""

from __future__ import annotations

import pytest
import torch

import lib
from demo_app.html.edits import listed
from demo_app.session.edits import AppliedEdit, without
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble

from ..support import tiny
from ..support.page import live, through
from .visits import TOWER, edit

pytestmark = pytest.mark.usefixtures("strong_settings")


def weight(studio, patch=lib.EMPTY):
    return studio.lm.weight(studio.lm.mlp_out(2), patch)


def test_one_edit_is_taken_out_and_the_later_ones_are_written_again(studio):
    session = Session()
    for target in ("xy", "qz", "xy"):
        edit(studio, session, target, keep="any")  # whatever a random model then says
    first, second, third = session.edits
    view = studio.revisions.undo(session, 1).outcome()
    assert view.live == 2 and "byte-identical" in view.undone
    assert session.edits[0].patch is first.patch, "what stands before it is untouched"
    again = lib.EDITORS["ft"](studio.lm).edit(third.patch.log[-1].facts, after=first.patch)
    torch.testing.assert_close(weight(studio, session.patch), weight(studio, again))
    assert [one.fact for one in session.edits] == [first.fact, third.fact]
    with pytest.raises(Trouble, match="not in your list any more"):
        studio.revisions.undo(session, 2).outcome()
    for wrong in ("1", 0.5, [1]):
        with pytest.raises(Trouble, match="should be a whole number"):
            studio.revisions.undo(session, wrong)
    assert studio.revisions.undo(session).outcome().live == 0 and session.edits == ()


def test_the_closed_form_takes_it_out_where_keys_are_kept(monkeypatch):
    lm, session, asked = tiny.model("llama"), Session(), []
    for n in (1, 2):
        live(session, lib.Patch(log=(lib.Edit("memit", {}),) * n, base=str(n)))
    short = lib.Patch(log=(lib.Edit("memit", {}),), base="short")

    def closed(editor, patch, place, *, exact):
        asked.append((patch, place, editor.lm))
        return short

    monkeypatch.setattr(lib.EDITORS["memit"], "without", closed)

    class Quiet:
        def report(self, *_):
            pass

    (left,), _ = through(without(Quiet(), lm, session.edits, 0))
    assert left.patch is short and asked == [(session.patch, 0, lm)]


def test_each_edit_says_whether_it_holds_and_has_a_way_out(studio):
    session = Session()
    edit(studio, session)
    assert session.edits[0].holds and session.edits[0].said.startswith("xy")
    edit(studio, session, "qz")
    first, second = session.edits
    assert (first.holds, second.holds) == (False, True), "a later one writes the same prompt"
    shown = listed(session.edits, "It breaks.")
    assert shown.count("<li>") == 2 and 'data-out="1"' in shown and "⚠ It breaks." in shown
    assert "✗ it says" in shown and "✓ it says" in shown
    assert "40 facts" in listed([AppliedEdit(patch_of(40), "MEMIT")], None)


def patch_of(count: int) -> lib.Patch:
    fact = lib.Fact(*TOWER, "xy")
    return lib.Patch(log=(lib.Edit("memit", {}, (fact,) * count),))
