"""The next word of one prompt before and after the edit: a figure, and a table of its numbers.

The table stands beside the figure for those who cannot see it.
"""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import lib
from lib import plot
from lib.data.facts import encode_target

from ..session.views import Row, View
from .render import bars, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 6  # tokens of the base model, beside the old and the new answer


def tokens(
    lm: lib.LM, row: Row, new: str, old: str | None
) -> list[tuple[str, float, float | None]]:
    """(token, p before, p after): the base's first six and the answers' first, in its order."""
    before = row.before.next_token
    which = before.topk(min(TOP, len(before))).indices.tolist()
    for answer in (new, old):
        if answer is not None:
            bare = lm.tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
            which.append((bare if row.group == "chat" else encode_target(lm.tokenizer, answer))[0])
    which = sorted(dict.fromkeys(which), key=lambda i: -before[i].item())
    p = before.exp().tolist()
    q = row.after.next_token.exp().tolist() if row.after is not None else None
    return [(lm.tokenizer.decode([i]), p[i], q[i] if q else None) for i in which]


def panel(lm: lib.LM, view: View, index: int = 0) -> str:
    """The panel under the table, about one of its rows."""
    row = view.rows[min(max(index, 0), len(view.rows) - 1)]
    found = tokens(lm, row, view.new, view.old)
    head = f"<h3>The next token after “{escape(row.prompt)}”</h3>"
    if row.after is None:
        return f'<div class="next">{head}<div>{_numbers(found)}</div></div>'
    first = max(found, key=lambda one: one[2])
    under = f" under {escape(view.editor)}" if view.editor else ""
    said = (
        f"Before, {_token(found[0][0])} was most probable ({number(found[0][1])}); "
        f"now{under} it has {number(found[0][2])}, and of these "
        f"{_token(first[0])} leads with {number(first[2])}."
    )
    figure = plot.token_bars([(t, p) for t, p, _ in found], [(t, q) for t, _, q in found])
    text = f"Bars of the next token's probability, before and after, for “{row.prompt}”"
    shown = picture(figure, f"{text}; the numbers stand beside them.")
    return f'<div class="next">{head}<p>{said}</p><div>{shown}{_numbers(found)}</div></div>'


def _token(token: str) -> str:
    return f"“{escape(token.strip() or token.encode('unicode_escape').decode())}”"


def _numbers(found: list[tuple[str, float, float | None]]) -> str:
    both = found[0][2] is not None
    rows = "".join(
        f'<tr><th scope="row">{_token(token)}{bars(p, q)}</th><td>{number(p)}</td>'
        f"{f'<td>{number(q)}</td>' if both else ''}</tr>"
        for token, p, q in found
    )
    head = '<th scope="col">token</th><th scope="col">p before</th>'
    head += '<th scope="col">p after</th>' if both else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def picture(figure: Figure, text: str) -> str:
    """A figure as an image inside the page, with its text alternative."""
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=144)
    data = base64.b64encode(held.getvalue()).decode()
    return f'<img class="figure" alt="{escape(text)}" src="data:image/png;base64,{data}">'
