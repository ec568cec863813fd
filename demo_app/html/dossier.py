"""The model's answers about a subject as HTML: a verdict, the changes, and the rest folded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import lib
from lib.data.relations import relations
from lib.workbench.instruments.dossier import Line, facts_about
from lib.workbench.instruments.dossier_answers import EntityAnswers

from .render import NOTHING, folded, hint, number, table

LISTED = 8  # changed answers in view; the others are folded


def shown(found: lib.workbench.Dossier) -> str:
    """The verdict, the edits that name the entity, and the table."""
    lines = found.lines
    both = any(line.after is not line.before for line in lines)
    edits = "".join(
        f"<li>{lib.EDITORS[edit.editor].title} wrote “{escape(fact.text)} "
        f"{escape(fact.target_new)}”</li>"
        for edit in found.edits
        for fact in facts_about(edit, found.entity)
    )
    live = f'<ul class="edits-of">{edits}</ul>' if edits else ""
    moved = [  # changed answers, if the model was or is sure of them
        line
        for line in lines
        if both and line.changed and (line.before.consistent or line.after.consistent)
    ]
    others = [line for line in lines if line not in moved]
    sure = sum(line.before.consistent for line in lines)
    said = f"{found.entity}: the model is sure of {sure} of {len(lines)} answers"
    if both:
        now = sum(line.after.consistent for line in lines)
        said += (
            f"; after the edit, of {now}. {len(moved)} answers changed that it was or is sure of"
        )
    said = f'<p class="verdict" role="status">{escape(said)}.</p>{live}'
    if len(lines) == len(relations()):
        said += hint("The page doesn't recognize this kind of subject, so it asks every question.")
    if not moved:
        return f"{said}{_table(others, both)}"
    more, rest = moved[LISTED:] and _table(moved[LISTED:], both), _table(others, both)
    return (
        f"{said}{_table(moved[:LISTED], both)}"
        f"{folded(f'{len(moved) - LISTED} more that changed', more)}"
        f"{folded(f'{len(others)} that did not change, or that it was never sure of', rest)}"
    )


def _table(lines: Sequence[Line], both: bool) -> str:
    heads = ["Question", "Before", *(["After"] if both else [])]
    return table("rows dossier", heads, (_row(line, both) for line in lines))


def _row(line: Line, both: bool) -> str:
    """One relation: its first wording, with the answers."""
    others = escape(" · ".join(line.prompts[1:]))
    after = _cell("After", line.after, line.changed) if both else ""
    return (
        f'<tr><td class="prompt" title="{others}">{escape(line.prompts[0])} …</td>'
        f"{_cell('Before', line.before, False)}{after}</tr>"
    )


def _cell(name: str, found: EntityAnswers, changed: bool) -> str:
    """An answer with its numbers, in gray if it is not consistent."""
    text = escape(found.answer) or NOTHING
    if changed:
        text = f"<mark>{text}</mark>"
    kind = "sure" if found.consistent else "unsure"
    agreed = round(found.agreement * len(found.replies))
    return (
        f'<td class="{kind}" data-name="{name}"><span>{text}</span><small class="free numbers">'
        f"<span>{agreed} of {len(found.replies)} wordings,</span> "
        '<span><abbr title="p: probability of this answer, from 0 to 1.">p</abbr> '
        f"{number(found.p)}</span></small></td>"
    )
