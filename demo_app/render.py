"""Plain values to HTML. All that a visitor or the model wrote is escaped here."""

from __future__ import annotations

import math
from difflib import SequenceMatcher
from html import escape

from .compare import Row, View
from .session import Written
from .worker import Progress

GROUPS = {  # group -> (its name, what one wishes for it, word for its tally)
    "edit": ("The edit", "should give the new answer", ""),
    "reworded": ("Reworded", "other words for the same: should give it too", "new answer"),
    "own": ("Your prompts", "nothing is expected of them", ""),
    "neighbor": ("Neighbors", "other subjects, same kind of question: should stay", "kept"),
    "unrelated": ("Unrelated", "should stay word for word", "same"),
}
P_TITLE = (
    "Probability that the model gives to the whole new answer right after the prompt: "
    "the product over its tokens."
)
KL_TITLE = (
    "Kullback–Leibler divergence of the next token, base model against edited model, in nats: "
    "0 means that nothing changed for this prompt."
)
NOTHING = '<i class="nothing">(nothing)</i>'
NO_EDIT = '<i class="nothing">No edit is live: the same as before.</i>'
NATS = '<abbr title="Unit of information with natural logarithms; 1 nat = 1.44 bits">nats</abbr>'


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
    return f'<div class="live {state}"><span>{escape(model)}</span> · {count}</div>'


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
    """One line over the table: what came of it."""
    if view.undone:
        return f'<div class="status done" role="status">↺ {escape(view.note or "")}</div>'
    if view.editor is None:
        line = "Before, and after your edits so far." if view.live else "What the model says now."
        target = escape(view.subject.case.fact.target_new)
        line += f" Press <b>Edit</b> to make it say “{target}”."
        return f'<div class="status" role="status"><span>{line}</span></div>'
    written, _ = view.tally("edit")
    parts = [f"{escape(view.editor)} wrote it: <strong>{'yes' if written else 'no'}</strong>"]
    for group, name in ("reworded", "rewordings"), ("neighbor", "neighbors kept"):
        good, total = view.tally(group)
        if total:
            parts.append(f"{name} <strong>{good}/{total}</strong>")
    if view.moved is not None:
        parts.append(f"unrelated text moved by <strong>{number(view.moved)}</strong> {NATS}")
    parts += [f"<strong>{view.seconds:.1f}</strong> s", "undo is exact"]
    icon = "✓" if written else "✗"
    warning = f'<p class="note">Note: {escape(view.note)}</p>' if view.note else ""
    line = " · ".join(f"<span>{part}</span>" for part in parts)
    return f'<div class="status done" role="status"><b>{icon}</b> {line}</div>{warning}'


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


def table(view: View) -> str:
    """The table of a view: a group of rows for each kind of prompt."""
    target = view.subject.case.fact.target_new
    compared = view.rows[0].after is not None
    kind = "both" if compared else "one"
    parts = [f'<table class="rows {kind}">', _head(target, compared)]
    for group in GROUPS:
        rows = [row for row in view.rows if row.group == group]
        if rows:
            parts.append(_group(view, group, compared))
            parts += [_row(row, compared) for row in rows]
            parts.append("</tbody>")
    parts.append("</table>")
    if view.subject.borrowed:
        parts.append(
            '<p class="source">Neighbors and unrelated prompts are borrowed from the example '
            f"about “{escape(view.subject.borrowed)}”.</p>"
        )
    return f'<div class="result">{"".join(parts)}</div>'


def _head(target: str, compared: bool) -> str:
    short = target if len(target) <= 14 else f"{target[:13]}…"
    chance = f'<abbr title="{P_TITLE}">p({escape(short)})</abbr>'
    spent = f'<abbr title="{KL_TITLE}">KL</abbr> ({NATS})'
    words, numbers = ["Prompt", "Before", "After"], [chance, spent]
    if not compared:
        words, numbers = ["Prompt", "The model says"], [chance]
    cells = [f'<th scope="col">{name}</th>' for name in words]
    cells += [f'<th class="n" scope="col">{name}</th>' for name in numbers]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _group(view: View, group: str, compared: bool) -> str:
    name, wish, word = GROUPS[group]
    good, total = view.tally(group)
    judged = any(row.good is not None for row in view.rows if row.group == group)
    tally = f"{good}/{total} {word}" if judged and word else ""
    return (
        f'<tbody class="{group}"><tr class="group"><th colspan="{5 if compared else 3}" '
        f'scope="rowgroup"><i></i>{name} <span>{wish}</span><em>{tally}</em></th></tr>'
    )


def _row(row: Row, compared: bool) -> str:
    chance = f"<span>{number(row.p_before)}</span>{_bars(row.p_before)}"
    before = f"<span>{escape(row.before.shown) or NOTHING}</span>"
    cells = [f'<td class="prompt">{escape(row.prompt)}</td>']
    if not compared:
        cells.append(_cell("before", "It says", before, row.before.text))
        cells.append(_cell("n p", "p(new)", chance))
        return f"<tr>{''.join(cells)}</tr>"
    kind, icon = {True: ("good", "✓"), False: ("bad", "✗"), None: ("free", "•")}[row.good]
    after = f"<span>{marked(row.before.shown, row.after.shown)}</span>"
    after += f' <small class="{kind}">{icon} {row.word}</small>'
    chance = f"<span>{number(row.p_before)} → <b>{number(row.p_after)}</b></span>"
    cells.append(_cell("before", "Before", before, row.before.text))
    cells.append(_cell("after", "After", after, row.after.text))
    cells.append(_cell("n p", "p(new)", chance + _bars(row.p_before, row.p_after)))
    cells.append(_cell("n kl", "KL, nats", f"<span>{number(row.kl)}</span>"))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(kind: str, name: str, inside: str, whole: str | None = None) -> str:
    """A cell; on a phone its column's name stands beside it. The tooltip has the whole answer."""
    title = ""
    if whole is not None:
        title = f' title="{escape("The answer so far: " + " ".join(whole.split()) + " …")}"'
    return f'<td class="{kind}" data-name="{name}"{title}>{inside}</td>'


def _bars(*values: float | None) -> str:
    bars = "".join(
        f'<i class="{name}" style="width:{100 * value:.1f}%"></i>'
        for name, value in zip(("was", "is"), values, strict=False)
        if value is not None
    )
    return f'<span class="bars" aria-hidden="true">{bars}</span>'


def unwritten() -> tuple[str, str]:
    """The two panels before anything was asked."""
    first = '<i class="nothing">Press Go: how the model writes on by itself.</i>'
    return _panel("Before", first), _panel("After", '<i class="nothing">… and with your edits.</i>')


def written(prompt: str, said: Written, done: bool, chat: bool) -> tuple[str, str]:
    """A free prompt continued, before and after: two panels."""
    lead = "" if chat else f'<span class="lead">{escape(prompt.rstrip())}</span>'
    caret = "" if done else '<i class="caret"></i>'
    first = f"{lead}{escape(said.before)}{caret if said.after is None else ''}"
    if not said.live:
        return _panel("Before", first), _panel("After", NO_EDIT)
    second = "" if said.after is None else f"{lead}{escape(said.after)}{caret}"
    return _panel("Before", first), _panel(f"After {_edits(said.live)}", second)


def _panel(name: str, text: str) -> str:
    return f'<div class="panel"><h3>{name}</h3><p>{text}</p></div>'
