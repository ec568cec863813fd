"""One prompt continued by two models, as HTML: two columns in which equal words share a line."""

from __future__ import annotations

from difflib import SequenceMatcher
from html import escape

from ..session.both_models import Beside, Side

LEAST = 2  # equal words in a row that get a line of their own; fewer stand among what differs
LEGEND = (
    "Words that both models write share a line and are underlined. Edits belong to the model in "
    "which they were made."
)

Line = tuple[list[str], list[str], bool]


def aligned(first: list[str], second: list[str]) -> list[Line]:
    """Two lists of words in lines: (words of the first, of the second, whether they are equal).

    Joined, the lines give both lists back. Equal words shorter than LEAST stand with what differs
    around them, so that the text does not fall to pieces.
    """
    lines: list[Line] = []
    codes = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    for kind, a, b, c, d in codes:
        equal = kind == "equal" and (b - a >= LEAST or len(codes) == 1)
        if lines and not equal and not lines[-1][2]:
            left, right, _ = lines[-1]
            lines[-1] = [*left, *first[a:b]], [*right, *second[c:d]], False
        else:
            lines.append((first[a:b], second[c:d], equal))
    return lines


def beside(found: Beside) -> str:
    """Both texts; while they grow a caret stands behind each that is not finished."""
    texts = ["" if side.text is None else side.text.whole for side in found.sides]
    lines = aligned(texts[0].split(), texts[1].split())
    lead = "" if found.chat else f'<span class="lead">{escape(found.prompt)}</span>'
    columns = "".join(
        _column(side, i, lines, lead, found.done) for i, side in enumerate(found.sides)
    )
    legend = f'<p class="source">{LEGEND}</p>' if found.done else ""
    return f'<div class="aligned">{columns}</div>{legend}'


def _column(side: Side, number: int, lines: list[Line], lead: str, done: bool) -> str:
    """One model: its name, the prompt, and its words line by line."""
    edits = f" with {side.live} edit{'s' * (side.live != 1)}" if side.live else ""
    parts = [f"<h3>{escape(side.name)}{edits}</h3>"]
    parts.append(f'<p class="first">{lead}</p>' if lead else "")
    for place, line in enumerate(lines):
        words = escape(" ".join(line[number]))
        inside = f'<b class="both">{words}</b>' if line[2] else words
        parts.append(f'<p style="grid-row:{place + 3}">{inside} </p>')
    if not done:
        parts.append(f'<p style="grid-row:{len(lines) + 3}"><i class="caret"></i></p>')
    return f'<section class="side" aria-label="{escape(side.name)}">{"".join(parts)}</section>'
