"""The list of a visitor's edits as HTML, each with a way to take it out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..session import given
from ..session.edits import AppliedEdit
from ..session.verdicts import LOOPS, NOTHING, looped
from ..session.views import first_sentence

MARKS = {
    True: ("good", "holds: it says"),
    False: ("bad", "does not hold: it says"),
    None: ("free", f"{NOTHING}: before this edit, too, it says"),
}


def listed(edits: Sequence[AppliedEdit], warning: str | None) -> str:
    """The edits in their order, and a warning where they have begun to break the model."""
    items = "".join(_item(place, edit, edits[place + 1 :]) for place, edit in enumerate(edits))
    alarm = f'<p class="warning" role="alert">⚠ {escape(warning)}</p>' if warning else ""
    return f'<ol class="edits">{items}</ol>{alarm}'


def _item(place: int, edit: AppliedEdit, later: Sequence[AppliedEdit]) -> str:
    said, new = "", edit.fact.target_new
    if edit.row is not None:
        kind, words = MARKS[edit.row.good]
        if looped([edit.row]):
            kind, words = "free", f"said, but {LOOPS}: it says"
        if edit.row.good is False and edit.fact.subject in {one.fact.subject for one in later}:
            kind, words = "free", "overwritten by your later edit of the same subject: it says"
        text = escape(first_sentence(edit.row.after or "", new))
        said = f'<small class="{kind}">{words} “{text}”</small>'
    count, one = len(edit.line), f"{given.short(edit.fact.subject or edit.fact.prompt)} → "
    fact = f"{count} facts" if count > 1 else escape(f"{one}{given.short(new)}")
    return (
        f"<li><b>{fact}</b> <small>{escape(edit.name)}</small> {said}"
        f'<button type="button" data-out="{place}" aria-label="take out: {fact}">take it out'
        "</button></li>"
    )
