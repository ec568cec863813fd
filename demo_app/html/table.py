"""The table of a view as HTML: one group of rows for each kind of prompt.

With one editor the answers before and after stand side by side, with their numbers; with several
each editor has a column.
"""

from __future__ import annotations

from html import escape

from ..session.views import Column, Row, Subject, View, tally
from .render import NATS, NOTHING, bars, marked, number

GROUPS = {  # group -> (its name, what one wishes for it, word for its tally)
    "edit": ("The edit", "should give the new answer", ""),
    "reworded": ("Reworded", "other words for the same: should give it too", "new answer"),
    "chat": ("In chat form", "the same as a chat message: the reply should contain it", ""),
    "own": ("Your prompts", "nothing is expected of them", ""),
    "neighbor": ("Neighbors", "other subjects, same kind of question: should stay", "kept"),
    "negation": ("Negated", "the fact denied: should not give the new answer", ""),
    "unrelated": ("Unrelated", "should stay word for word", "same"),
    "follows": ("Consequences", "what follows from the new answer: should change too", "drawn"),
}
P_TITLE = (
    "Probability that the model gives to the whole answer right after the prompt: "
    "the product over its tokens."
)
KL_TITLE = (
    "Kullback–Leibler divergence of the next token, base model against edited model, in nats: "
    "0 means that nothing changed for this prompt."
)


def table(view: View, picked: int = 0) -> str:
    """The table of a view; `picked` is the row that the panel below is about."""
    columns = [column for column in view.columns if column.rows]
    if len(columns) < 2:
        columns = []
    compared = view.rows[0].after is not None
    kind = "many" if columns else "both" if compared else "one"
    width = 2 + len(columns) if columns else 6 if compared else 4
    parts = [f'<table class="rows {kind}">', _head(view, columns, compared)]
    for group in GROUPS:
        here = [i for i, row in enumerate(view.rows) if row.group == group]
        if here:
            parts.append(_group(() if columns else view.rows, group, width))
            for i in here:
                cells = _beside(i, columns) if columns else _cells(view.rows[i])
                mark = _guess(view.guessed[i]) if view.guessed else ""
                prompt = f'<td class="prompt">{escape(view.rows[i].prompt)}{mark}</td>'
                chosen = ' class="picked" aria-current="true"' if i == picked else ""
                parts.append(f'<tr data-row="{i}" tabindex="0"{chosen}>{prompt}{cells}</tr>')
            parts.append("</tbody>")
    parts.append("</table>")
    parts.append(_source(view.subject))
    return f'<div class="result">{"".join(parts)}</div>'


def _source(subject: Subject) -> str:
    """Where the test prompts of a typed fact come from; nothing for an example."""
    if not subject.typed:
        return ""
    if subject.borrowed is None:
        how = "named by you" if subject.wanted else "found by the prompt"
        said = (
            "Rewordings, neighbors and unrelated prompts are those of the kind of fact “"
            f"{escape(subject.case.relation or '')}” ({how}; you can name another in the form)."
        )
    else:
        near = ", ".join(f"“{escape(name)}”" for name in subject.nearest)
        said = (
            "No kind of fact of the classroom fits this prompt"
            + (f" (nearest: {near})" if near else "")
            + ", so there are no rewordings, and neighbors and unrelated prompts are borrowed from "
            f"the example about “{escape(subject.borrowed)}”. You can name a kind in the form."
        )
    return f'<p class="source">{said}</p>'


def _head(view: View, columns: list[Column], compared: bool) -> str:
    new = f'<abbr title="{P_TITLE}">p({escape(_short(view.new))})</abbr>'
    old = f'<abbr title="{P_TITLE}">p({escape(_short(view.old or "old"))})</abbr>'
    spent = f'<abbr title="{KL_TITLE}">KL</abbr> ({NATS})'
    words, numbers = ["Prompt", "Before", "After"], [new, old, spent]
    if not compared:
        words, numbers = ["Prompt", "The model says"], [new, old]
    if columns:
        kept = view.columns[view.chosen]
        words = ["Prompt", "Before"]
        words += [escape(c.name) + (" (kept)" if c is kept else "") for c in columns]
        numbers = []
    cells = [f'<th scope="col">{name}</th>' for name in words]
    cells += [f'<th class="n" scope="col">{name}</th>' for name in numbers]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _short(answer: str) -> str:
    return answer if len(answer) <= 12 else f"{answer[:11]}…"


def _group(rows: tuple[Row, ...], group: str, width: int) -> str:
    name, wish, word = GROUPS[group]
    judged = any(row.good is not None for row in rows if row.group == group)
    good, total = tally(rows, group)
    count = f"{good}/{total} {word}" if judged and word else ""
    return (
        f'<tbody class="{group}"><tr class="group"><th colspan="{width}" '
        f'scope="rowgroup"><i></i>{name} <span>{wish}</span><em>{count}</em></th></tr>'
    )


def _cells(row: Row) -> str:
    """Before and after in columns of their own, with the numbers."""
    before = f"<span>{escape(row.before.shown) or NOTHING}</span>"
    if row.after is None:
        cells = [
            _cell("before", "It says", before, row.before.text),
            _cell("n p", "p(new)", f"<span>{number(row.p_before)}</span>{bars(row.p_before)}"),
            _cell("n p", "p(old)", f"<span>{number(row.old)}</span>{bars(row.old)}"),
        ]
    else:
        cells = [
            _cell("before", "Before", before, row.before.text),
            _cell("after", "After", _after(row), row.after.text),
            _cell("n p", "p(new)", _chance(row.p_before, row.p_after)),
            _cell("n p", "p(old)", _chance(row.old, row.old_after)),
            _cell("n kl", "KL, nats", f"<span>{number(row.kl)}</span>"),
        ]
    return "".join(cells)


def _beside(i: int, columns: list[Column]) -> str:
    """One cell per editor, the numbers small below its answer."""
    row = columns[0].rows[i]
    said = f"<span>{escape(row.before.shown) or NOTHING}</span>"
    chances = [f"p(new) {number(row.p_before)}"]
    if row.old is not None:
        chances.append(f"p(old) {number(row.old)}")
    cells = [_cell("before", "Before", f"{said}{_small(chances)}", row.before.text)]
    for column in columns:
        row = column.rows[i]
        numbers = [f"p(new) <b>{number(row.p_after)}</b>"]
        if row.old_after is not None:
            numbers.append(f"p(old) {number(row.old_after)}")
        numbers.append(f"KL {number(row.kl)}")
        inside = f"{_after(row)}{_small(numbers)}{bars(row.p_before, row.p_after)}"
        cells.append(_cell("after", escape(column.name), inside, row.after.text))
    return "".join(cells)


def _guess(hit: bool | None) -> str:
    """Whether the visitor's guess about a row came true; nothing where none was made."""
    if hit is None:
        return ""
    kind, words = ("hit", "◎ you guessed right") if hit else ("miss", "○ you guessed wrong")
    return f'<small class="guess {kind}">{words}</small>'


def _small(parts: list[str]) -> str:
    return f'<small class="free numbers">{"".join(f"<span>{p}</span> " for p in parts)}</small>'


def _after(row: Row) -> str:
    kind, icon = {True: ("good", "✓"), False: ("bad", "✗"), None: ("free", "•")}[row.good]
    text = f"<span>{marked(row.before.shown, row.after.shown)}</span>"
    return f'{text} <small class="{kind}">{icon} {escape(row.word)}</small>'


def _chance(before: float | None, after: float | None) -> str:
    if before is None:
        return f"<span>{number(None)}</span>"
    text = f"<span><span>{number(before)} →</span> <b>{number(after)}</b></span>"
    return text + bars(before, after)


def _cell(kind: str, name: str, inside: str, whole: str | None = None) -> str:
    """A cell; on a phone its column's name stands beside it. The tooltip has the whole answer."""
    title = ""
    if whole is not None:
        title = f' title="{escape("The answer so far: " + " ".join(whole.split()) + " …")}"'
    return f'<td class="{kind}" data-name="{name}"{title}>{inside}</td>'
