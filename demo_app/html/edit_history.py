"""The list of a visitor's edits as HTML: the switches, and what was said at one point of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import lib

from ..session.edits import AppliedEdit, LookBack, PastEdit
from .render import number

SURPRISE = "How surprised the model is by a text that it has not seen; lower is better."
STATES = {  # state of a past edit -> (class, mark)
    "right": ("good", "✓ new answer"),
    "wrong": ("bad", "✗ not the new answer"),
    "not yet": ("free", "• not written yet"),
    "replaced": ("free", "• a later edit writes this prompt"),
}


def choices(edits: Sequence[AppliedEdit]) -> list[tuple[str, int]]:
    """The switches as plain text: (text, number of the edit)."""
    return [(_label(place, edit), edit.number) for place, edit in enumerate(edits, 1)]


def _label(place: int, edit: AppliedEdit) -> str:
    parts = [f"{place}. {_fact(edit.fact, len(edit.line))}", edit.name]
    if edit.strength != 1:
        parts.append(f"strength {edit.strength:g}")
    if edit.seconds is not None:
        parts.append(f"{edit.seconds:.1f} s")
    return " · ".join(parts)


def _fact(fact: lib.Fact | None, count: int) -> str:
    if fact is None:
        return f"{count} facts"
    subject = fact.subject or fact.prompt
    subject = subject if len(subject) <= 40 else f"{subject[:39]}…"
    return f"{subject} → {fact.target_new}"


def history(found: LookBack) -> str:
    """What the model said to the edits' prompts at one point of the list."""
    if not found.edits:
        return '<p class="note">Every edit is left out: the model is as it came.</p>'
    count, total = found.count, len(found.edits)
    when = f"after edit {count} of {total}" if count else "before any edit"
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Prompt", "New answer", f"It says {when}")
    )
    rows = "".join(map(_row, found.edits))
    table = f'<table class="rows list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="result">{table}{_held(found)}{_damage(found)}</div>'


def _row(edit: PastEdit) -> str:
    fact = edit.fact
    if fact is None:
        return f'<tr><td class="prompt" colspan="3">{edit.place}. {edit.count} facts</td></tr>'
    kind, mark = STATES[edit.state]
    said = "…" if edit.said is None else edit.said
    return (
        f'<tr><td class="prompt">{edit.place}. {escape(fact.text)}</td>'
        f'<td data-name="New">{escape(fact.target_new)}</td>'
        f'<td data-name="It says"><span>{escape(said)}</span> '
        f'<small class="{kind}">{mark}</small></td></tr>'
    )


def _held(found: LookBack) -> str:
    """How many of the edits so far were still right after each one."""
    parts = [
        f"<span>after edit {size} <b>{right} of {asked}</b></span>"
        for size, right, asked in found.held
    ]
    return f'<p class="note">Edits that hold: {" · ".join(parts)}</p>' if parts else ""


def _damage(found: LookBack) -> str:
    """The warning, or else the two perplexities where they are known."""
    if found.warning is not None:
        return f'<p class="warning" role="alert">⚠ {escape(found.warning)}</p>'
    if found.perplexity is None or found.base is None:
        return ""
    return (
        f'<p class="note"><abbr title="{SURPRISE}">Perplexity</abbr> of an ordinary text: '
        f"{number(found.perplexity)}, unedited {number(found.base)}.</p>"
    )
