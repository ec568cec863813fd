"""The pieces of the page as HTML: headline, status, verdicts, panels, tables of numbers.

Each takes plain values, and everything that a visitor or the model wrote is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from html import escape

from ..session.views import Column, View
from ..session.worker import Progress

NOTHING = '<i class="nothing">(nothing)</i>'
NATS = '<abbr title="Unit of information with natural logarithms; 1 nat = 1.44 bits">nats</abbr>'
COUNTED = {  # group -> its words in an editor's line
    "reworded": "rewordings",
    "follows": "consequences",
    "neighbor": "neighbors kept",
}


def number(value: float | None) -> str:
    """Three significant digits: 0.974, 0.0123, 4.51·10⁻⁶."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if value and abs(value) < 9.995e-4:
        power = math.floor(math.log10(abs(value)))
        front = f"{value / 10**power:.2f}"
        if front == "10.00":
            front, power = "1.00", power + 1
        return "0" if power < -15 else f"{front}·10<sup>−{-power}</sup>"
    value = float(f"{value:.2e}")  # first rounded: 0.9998 is 1.00, not 1.000
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, digits)}f}"


def marked(before: str, after: str) -> str:
    """The later text, with the words that differ from the earlier one marked."""
    old, new = before.split(), after.split()
    parts = []
    for kind, _, _, a, b in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        text = escape(" ".join(new[a:b]))
        if text:
            parts.append(text if kind == "equal" else f"<mark>{text}</mark>")
    return " ".join(parts) or NOTHING


def header(model: str, live: int) -> str:
    """Model and number of edits, for the page's upper right corner."""
    state = "on" if live else "off"
    count = f"<strong>{_edits(live)} live</strong>"
    return f'<div class="live {state}"><span>{escape(model)} · </span>{count}</div>'


def _edits(count: int) -> str:
    return f"{count} edit{'' if count == 1 else 's'}"


def busy(progress: Progress, ahead: int) -> str:
    """The bar of a job, with its words; while others are first, how many."""
    words = progress.words
    if ahead:
        words = f"Waiting: {ahead} job{'s' * (ahead > 1)} of other visitors first"
    percent = round(100 * progress.share)
    return (
        f'<div class="status" role="status"><span>{escape(words)} …</span>'
        f'<div class="bar" role="progressbar" aria-label="{escape(words)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
        "</div>"
    )


def status(view: View) -> str:
    """The result over the table: one line, or one for each editor side by side."""
    if view.undone:
        return f'<div class="status done" role="status">↺ {escape(view.note or "")}</div>'
    if view.editor is None:
        line = "Before, and after your edits so far." if view.live else "What the model says now."
        line += f" Press <b>Edit</b> to make it say “{escape(view.new)}”."
        return f'<div class="status" role="status"><span>{line}</span></div>'
    several = len(view.columns) > 1
    lines = [
        verdict(column, several and i == view.chosen, several)
        for i, column in enumerate(view.columns)
    ]
    warning = f'<p class="note">Note: {escape(view.note)}</p>' if view.note else ""
    return f'<div class="status done" role="status">{"".join(lines)}</div>{warning}'


def verdict(column: Column, kept: bool = False, several: bool = False) -> str:
    """One editor's result in a line of plain words."""
    name = escape(column.name)
    if column.patch is None:
        return f"<p><b>✗</b> <span>{name} made no edit: {escape(column.error or '')}</span></p>"
    written, _ = column.tally("edit")
    parts = [f"{name} wrote it: <strong>{'yes' if written else 'no'}</strong>"]
    for group, word in COUNTED.items():
        good, total = column.tally(group)
        if total:
            parts.append(f"{word} <strong>{good}/{total}</strong>")
    if column.moved is not None:
        parts.append(f"unrelated text moved by <strong>{number(column.moved)}</strong> {NATS}")
    parts.append(f"<strong>{column.seconds:.1f}</strong> s")
    if kept or not several:
        parts.append("kept" if several else "undo is exact")
    line = " · ".join(f"<span>{part}</span>" for part in parts)
    return f"<p><b>{'✓' if written else '✗'}</b> {line}</p>"


def headline(view: View) -> str:
    """The edit prompt with its answer, in large type; the old answer struck out when it changed."""
    row = view.rows[0]
    said = escape(row.before.shown) or NOTHING
    if row.after is None or row.after.text == row.before.text:
        now = f"<b>{said}</b>"
    else:
        now = f"<s>{said}</s> <b>{escape(row.after.shown) or NOTHING}</b>"
    return f'<h2 class="headline"><span>{escape(row.prompt)}</span> {now}</h2>'


def sorry(sentence: str) -> str:
    """A job that did not end as it should, in the place of its summary; it stays there."""
    return f'<div class="status sorry" role="status"><b>✗</b> {escape(sentence)}</div>'


def bars(*values: float | None) -> str:
    """Probabilities as thin bars, before and after."""
    if values[0] is None:
        return ""
    inside = "".join(
        f'<i class="{name}" style="width:{100 * value:.1f}%"></i>'
        for name, value in zip(("was", "is"), values, strict=False)
        if value is not None
    )
    return f'<span class="bars" aria-hidden="true">{inside}</span>'


def done(text: str) -> str:
    """A line that says how a long run ended."""
    return f'<div class="status done" role="status">✓ {escape(text)}</div>'


def finding(text: str) -> str:
    """A sentence that says what a figure shows."""
    return f'<div class="status done" role="status">{escape(text)}</div>'


def hint(text: str) -> str:
    """A quiet line of HTML that the page itself writes: what to do, or what to see."""
    return f'<p class="hint">{text}</p>'


def in_words(lines: Iterable[str | tuple[str, str]], kind: str = "") -> str:
    """The text alternative of a figure, folded: a list of lines, or of (name, line)."""
    return (
        '<details class="alt"><summary>The figure in words</summary>'
        f"{bullets(lines, kind)}</details>"
    )


def bullets(lines: Iterable[str | tuple[str, str]], kind: str = "") -> str:
    """A list of lines, or of (name, line) with the name in bold; "" where there is none."""
    items = []
    for line in lines:
        name, text = ("", line) if isinstance(line, str) else line
        lead = f"<b>{escape(name)}</b>: " if name else ""
        items.append(f"<li>{lead}{escape(text)}</li>")
    if not items:
        return ""
    opening = f'<ul class="{kind}">' if kind else "<ul>"
    return f"{opening}{''.join(items)}</ul>"


def numbers(heads: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> str:
    """A table of numbers, the first column naming the row, and notes below it."""
    first, *rest = heads
    head = f'<th scope="col">{escape(first)}</th>'
    head += "".join(f'<th scope="col" class="n">{escape(name)}</th>' for name in rest)
    body = "".join(_numbers_row(rest, row) for row in rows)
    below = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return (
        f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}'
    )


def _numbers_row(heads: Sequence[str], row: Sequence[str]) -> str:
    """On a phone the name of its column stands beside a cell."""
    first, *rest = row
    cells = "".join(
        f'<td class="n" data-name="{escape(head)}">{escape(cell)}</td>'
        for head, cell in zip(heads, rest, strict=True)
    )
    return f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
