"""The pieces of the page as HTML: status, hints, panels, tables of numbers.

Each takes plain values, and everything that a visitor or the model wrote is escaped here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..session.worker import WAITING, Progress

SHORT = 3.0  # seconds that are left, from which on they are told
STALE = '<p class="stale">Until then the answers below are those from before.</p>'
NOTHING = '<i class="nothing">(nothing)</i>'


def number(value: float | None) -> str:
    """Three digits, without powers of ten: 0.974, 0.012, 13.0, 250."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if value and abs(value) < 5e-4:
        return "<0.001"
    value = float(f"{value:.2e}")  # first rounded: 0.9998 is 1.00, not 1.000
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(0, digits), 3)}f}"


def header(model: str, live: int) -> str:
    """Model and number of edits, for the page's upper right corner.

    Where none is live it is not said: what is on the page may be an edit from the store.
    """
    count = f" · <strong>{_edits(live)} live</strong>" if live else ""
    return f'<div class="live{" on" * bool(live)}"><span>{escape(model)}</span>{count}</div>'


def _edits(count: int) -> str:
    return f"{count} edit{'' if count == 1 else 's'}"


def busy(progress: Progress, ahead: int) -> str:
    """The bar of a job, with its words; while others are first, how many.

    The bar, the percent and the seconds that are left come from the same share of the whole job.
    """
    words, percent = progress.words, round(100 * progress.share)
    left = f", {progress.left:.0f} s more" * (progress.left >= SHORT)
    told = "" if words == WAITING else f" {percent} %{left}"
    if ahead:
        words, told = f"Waiting: {ahead} job{'s' * (ahead > 1)} of others first", ""
    return (
        f'<div class="status" role="status"><span>{escape(words)} …{told}</span>'
        f'<div class="bar" role="progressbar" aria-label="{escape(words)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
        "</div>"
    )


def sorry(sentence: str) -> str:
    """A job that did not end as it should, in the place of its summary; it stays there."""
    return f'<div class="status sorry" role="status"><b>✗</b> {escape(sentence)}</div>'


def continued(said: Mapping[str, Any], lead: str | None = None) -> str:
    """A free prompt continued by the unedited model, and with the edits where there are any.

    said: "before", "after", "live", the number of edits, and "example": a stored one that is shown.
    lead: the prompt, before the whole texts; without it, their first sentences alone.
    """
    whose = _edits(said["live"]) if said["live"] else said.get("example")
    panels = {"Before" if whose else "Before: no edit is live": said["before"]}
    if whose:
        panels[f"After {whose}" if lead else "After"] = said["after"]
    texts = "".join(
        f'<div class="panel"><h3>{name}</h3><p><span class="lead">{escape(lead or "…")}</span>'
        f"{escape(text if lead else sentences(text))}</p></div>"
        for name, text in panels.items()
    )
    return f'<div class="pairs">{texts}</div>'


def sentences(text: str) -> str:
    """The whole sentences that a text begins with, five words or more; all of it if none ends."""
    ends = [found.end() for found in re.finditer(r"[.!?](?=\s)", text)]
    whole = [text[:end] for end in ends if len(text[:end].split()) >= 5]
    return whole[0] if whole else f"{text} …"


def finding(text: str) -> str:
    """A sentence that says what a figure shows, or how a long run ended."""
    return f'<div class="status done" role="status">{escape(text)}</div>'


def hint(text: str) -> str:
    """A quiet line of HTML that the page itself writes: what to do, or what to see."""
    return f'<p class="hint">{text}</p>'


def stored(text: str) -> str:
    """The line that says whose answer one sees: a stored one, or the visitor's own."""
    return f'<p class="stored">{escape(text)}</p>'


def in_words(lines: Iterable[str]) -> str:
    """The text alternative of a figure, folded: a list of lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return folded("The figure in words", f"<ul>{items}</ul>", "alt")


def folded(summary: str, html: str | None, kind: str = "") -> str:
    """HTML that one opens when one wants to see it; "" where there is none."""
    opening = f'<details class="{kind}"><summary>{escape(summary)}</summary>'
    return f"{opening}{html}</details>" if html else ""


def table(kind: str, heads: Iterable[str], rows: Iterable[str], name: str = "") -> str:
    """A table of rows that are HTML already, under the names of its columns."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    caption = f"<caption>{name}</caption>" if name else ""
    return (
        f'<table class="{kind}">{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def numbers(heads: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> str:
    """A table of numbers, the first column naming the row, and notes below it."""
    body = (_numbers_row(heads[1:], row) for row in rows)
    below = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return table("numbers", map(escape, heads), body) + below


def _numbers_row(heads: Sequence[str], row: Sequence[str]) -> str:
    """On a phone the name of its column stands beside a cell."""
    first, *rest = row
    cells = "".join(
        f'<td class="n" data-name="{escape(head)}">{escape(cell)}</td>'
        for head, cell in zip(heads, rest, strict=True)
    )
    return f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
