"""The list of a visitor's edits as HTML, with a button for removing each of them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..session import checks
from ..session.edits import AppliedEdit
from ..session.verdicts import LOOPS, NOTHING, looped
from ..session.views import first_sentence

MARKS = {
    True: ("good", "holds; the model says"),
    False: ("bad", "doesn't hold; the model says"),
    None: ("free", f"{NOTHING}; before this edit the model already said"),
}


def listed(edits: Sequence[AppliedEdit], warning: str | None) -> str:
    """The edits in their order, with a warning if they are starting to break the model."""
    items = "".join(_item(place, edit, edits[place + 1 :]) for place, edit in enumerate(edits))
    alarm = f'<p class="warning" role="alert">⚠ {escape(warning)}</p>' if warning else ""
    return f'<ol class="edits">{items}</ol>{alarm}'


def _item(place: int, edit: AppliedEdit, later: Sequence[AppliedEdit]) -> str:
    said, new = "", edit.fact.target_new
    if edit.row is not None:
        kind, words = MARKS[edit.row.good]
        if looped([edit.row]):
            kind, words = "free", f"given, but {LOOPS}; the model says"
        if edit.row.good is False and edit.fact.subject in {one.fact.subject for one in later}:
            kind = "free"
            words = "overwritten by your later edit of the same subject; the model says"
        text = escape(first_sentence(edit.row.after or "", new))
        said = f'<small class="{kind}">{words} “{text}”</small>'
    count, one = len(edit.line), f"{checks.short(edit.fact.subject or edit.fact.prompt)} → "
    fact = f"{count} facts" if count > 1 else escape(f"{one}{checks.short(new)}")
    return (
        f"<li><b>{fact}</b> <small>{escape(edit.name)}</small> {said}"
        f'<button type="button" data-out="{place}" aria-label="remove: {fact}">remove'
        "</button></li>"
    )
