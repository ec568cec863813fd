"""The page's building blocks as HTML: status, hints, panels, tables of numbers.

All take plain values, escaping everything that a visitor or the model wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..session.worker import WAITING, Progress

SHORT = 3.0  # show the remaining time if it is at least this many seconds
STALE = '<p class="stale">Until then, the answers below are the previous ones.</p>'
NOTHING = '<i class="nothing">(nothing)</i>'


def number(value: float | None) -> str:
    """Format with three digits and no powers of ten: 0.974, 0.012, 13.0, 250."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if value and abs(value) < 5e-4:
        return "<0.001"
    value = float(f"{value:.2e}")  # round first: 0.9998 becomes 1.00, not 1.000
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(0, digits), 3)}f}"


def header(model: str, live: int) -> str:
    """The model and the number of live edits, for the page's upper right corner.

    The number is left out if it is zero, because the page may be showing a stored edit.
    """
    count = f" · <strong>{_edits(live)} live</strong>" if live else ""
    return f'<div class="live{" on" * bool(live)}"><span>{escape(model)}</span>{count}</div>'


def _edits(count: int) -> str:
    return f"{count} edit{'' if count == 1 else 's'}"


def busy(progress: Progress, ahead: int) -> str:
    """A job's progress bar with a description or, if others are ahead of it, how many.

    The bar, the percentage and the remaining seconds all refer to the job as a whole.
    """
    words, percent = progress.words, round(100 * progress.share)
    left = f", {progress.left:.0f} s left" * (progress.left >= SHORT)
    told = "" if words == WAITING else f" {percent}%{left}"
    if ahead:
        words, told = f"Waiting: {ahead} other job{'s' * (ahead > 1)} first", ""
    return (
        f'<div class="status" role="status"><span>{escape(words)} …{told}</span>'
        f'<div class="bar" role="progressbar" aria-label="{escape(words)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
        "</div>"
    )


def sorry(sentence: str) -> str:
    """A failed job's message, which stays where its summary would have been."""
    return f'<div class="status sorry" role="status"><b>✗</b> {escape(sentence)}</div>'


def continued(said: Mapping[str, Any], lead: str | None = None) -> str:
    """A free prompt continued by the unedited model and, if there are edits, by the edited one.

    said: "before", "after", "live" (the number of edits), and "example" if the edit shown is
        stored.
    lead: the prompt, shown before the full texts; without it, only their first sentences are shown.
    """
    whose = _edits(said["live"]) if said["live"] else said.get("example")
    panels = {"Before" if whose else "No edit is live": said["before"]}
    if whose:
        panels[f"After {whose}" if lead else "After"] = said["after"]
    texts = "".join(
        f'<div class="panel"><h3>{name}</h3><p><span class="lead">{escape(lead or "…")}</span>'
        f"{escape(text if lead else sentences(text))}</p></div>"
        for name, text in panels.items()
    )
    return f'<div class="pairs">{texts}</div>'


def sentences(text: str) -> str:
    """The complete sentences at the start of a text, at least five words, or the whole text if none
    ends.
    """
    ends = [found.end() for found in re.finditer(r"[.!?](?=\s)", text)]
    whole = [text[:end] for end in ends if len(text[:end].split()) >= 5]
    return whole[0] if whole else f"{text} …"


def finding(text: str) -> str:
    """A sentence summarizing a figure or the end of a long run."""
    return f'<div class="status done" role="status">{escape(text)}</div>'


def hint(text: str) -> str:
    """A quiet line of HTML written by the page itself, with instructions or an explanation."""
    return f'<p class="hint">{text}</p>'


def stored(text: str) -> str:
    """The caption showing whose answer it is: a stored example or the visitor's own."""
    return f'<p class="stored">{escape(text)}</p>'


def in_words(lines: Iterable[str]) -> str:
    """A figure's text alternative, folded: a list of lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return folded("The figure in words", f"<ul>{items}</ul>", "alt")


def folded(summary: str, html: str | None, kind: str = "") -> str:
    """HTML that opens when you click its summary; "" if there is none."""
    opening = f'<details class="{kind}"><summary>{escape(summary)}</summary>'
    return f"{opening}{html}</details>" if html else ""


def table(kind: str, heads: Iterable[str], rows: Iterable[str], name: str = "") -> str:
    """A table, given rows that are already HTML and its column names."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    caption = f"<caption>{name}</caption>" if name else ""
    return (
        f'<table class="{kind}">{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def numbers(heads: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> str:
    """A table of numbers, with row names in the first column and notes below."""
    body = (_numbers_row(heads[1:], row) for row in rows)
    below = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return table("numbers", map(escape, heads), body) + below


def _numbers_row(heads: Sequence[str], row: Sequence[str]) -> str:
    """One row; on a phone, the column's name appears next to each cell."""
    first, *rest = row
    cells = "".join(
        f'<td class="n" data-name="{escape(head)}">{escape(cell)}</td>'
        for head, cell in zip(heads, rest, strict=True)
    )
    return f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
