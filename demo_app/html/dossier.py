"""What the model knows about a subject, as HTML: a verdict, what changed, and the rest folded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import lib
from lib.workbench.instruments.dossier import Line, facts_about
from lib.workbench.instruments.dossier_answers import EntityAnswers

from .render import NOTHING, folded, number, table

MOST = 1000  # times; far more than that is a number that nobody compares
WHAT = {
    "agreement": "How many of the wordings of the question give this answer.",
    "times": "How many times as probable the answer is here as for other subjects of the same "
    f"question. 1 is an answer that everybody gets; {MOST} stands for all that is more.",
    "layer": "The first layer from which on the model's own output would say this answer.",
}


def shown(found: lib.workbench.Dossier) -> str:
    """The verdict, the edits that name the entity, and the table."""
    both = any(line.after is not line.before for line in found.lines)
    edits = "".join(
        f"<li>{escape(edit.editor)} wrote “{escape(fact.text)} {escape(fact.target_new)}”</li>"
        for edit in found.edits
        for fact in facts_about(edit, found.entity)
    )
    live = f'<ul class="edits-of">{edits}</ul>' if edits else ""
    moved = [  # another answer, of which the model was or is sure
        line
        for line in found.lines
        if both and line.changed and (line.before.consistent or line.after.consistent)
    ]
    others = [line for line in found.lines if line not in moved]
    said = f'<p class="verdict" role="status">{escape(found.verdict)}</p>{live}'
    if not moved:
        return f"{said}{_table(others, both)}"
    name = f"{len(others)} other answers, as before or never sure"
    return f"{said}{_table(moved, both)}{folded(name, _table(others, both))}"


def _table(lines: Sequence[Line], both: bool) -> str:
    heads = ["Asked", "Before", *(["After"] if both else [])]
    return table("rows dossier", heads, (_row(line, both) for line in lines))


def _row(line: Line, both: bool) -> str:
    """One relation: the first wording that was asked, with the answers."""
    others = escape(" · ".join(line.prompts[1:]))
    after = _cell("After", line.after, line.changed) if both else ""
    return (
        f'<tr><td class="prompt" title="{others}">{escape(line.prompts[0])} …</td>'
        f"{_cell('Before', line.before, False)}{after}</tr>"
    )


def _cell(name: str, found: EntityAnswers, changed: bool) -> str:
    """An answer, gray where it is not consistent, with its numbers."""
    text = escape(found.answer) or NOTHING
    if changed:
        text = f"<mark>{text}</mark>"
    kind = "sure" if found.consistent else "unsure"
    agreed = round(found.agreement * len(found.replies))
    times = number(None if math.isnan(found.lift) else min(math.exp(found.lift), MOST))
    layer = "–" if found.layer is None else str(found.layer)
    parts = [
        f'<abbr title="{WHAT["agreement"]}">{agreed}/{len(found.replies)}</abbr>',
        f'<abbr title="{WHAT["times"]}">{times} times as probable as for others</abbr>',
        f"p {number(found.p)}",
        f'<abbr title="{WHAT["layer"]}">layer {layer}</abbr>',
    ]
    numbers = "".join(f"<span>{part}</span> " for part in parts)
    return (
        f'<td class="{kind}" data-name="{name}"><span>{text}</span>'
        f'<small class="free numbers">{numbers}</small></td>'
    )
