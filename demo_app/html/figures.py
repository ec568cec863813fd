"""The lab's answers that include figures: the facts that an edit disturbs, and its layers."""

from __future__ import annotations

import base64
import io
import textwrap
from html import escape
from typing import TYPE_CHECKING

from lib.workbench import plot

from ..session.checks import short
from ..session.interference import GROUPS, Prediction, Victim
from ..session.layers import Tried
from ..session.reasons import why
from ..session.views import tally
from .comparison import comparison, scoreboard, short_answers
from .render import finding, folded, hint, in_words, number, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.0  # inches; on a phone's screen its text is 11 pixels high
LISTED = 8  # facts in the table; the others are folded
COLORS = dict(
    zip(GROUPS, (plot.COLORS[name] for name in ("neighbor", "edited", "unrelated")), strict=True)
)


def layers(found: Tried) -> str:
    """The reason in a sentence, the edit in each layer, and the measurements folded."""
    view, turn = found.view.show(found.view.chosen), found.turn
    reason, instead = why(found)
    new = escape(short(view.new))
    line = f"{escape(view.subject.case.fact.text)} → <b>{new}</b>, by {escape(view.column.name)}"
    first = (
        f'<p class="hint">{line}</p><p class="why" role="status"><b>{escape(reason)}</b> '
        f"{escape(instead)}</p>"
    )
    parts = []
    if found.loss:
        terms = ("total", "nll", "kl", "decay")
        figure = plot.loss_curve([dict(zip(terms, row, strict=False)) for row in found.loss])
        said = f"The search reached p = {number(found.loss[-1][-1])} for “{short(view.new)}”."
        parts.append(folded("How the value was found", hint(escape(said)) + picture(figure, said)))
    if turn is not None:
        every, edited = range(len(turn.was[turn.answers[0]])), turn.edited or None
        figure = plot.rank_over_layers(every, turn.now, before=turn.was, highlight=edited)
        drawn = f"{hint(escape(turn.found))}{picture(figure, turn.found)}{in_words(turn.lines)}"
        parts.append(folded("The layer where the answer changes", drawn))
    parts.append(folded("All answers", f"{comparison(view)}{scoreboard(view)}"))
    return f"{first}{_five(found)}{''.join(parts)}"


def _five(found: Tried) -> str:
    """The same edit in each layer: the answer, its probability, and the neighbors that moved."""
    view, cells = found.view, []
    for i, (column, layer) in enumerate(zip(view.columns, found.layers, strict=True)):
        own = i == view.chosen
        whose = " · as edited" if view.stored else " · yours"
        name = f"Layer {layer}{whose * own}"
        if not column.rows:
            cells.append(f"<li><b>{name}</b><span>{escape(column.error or '')}</span></li>")
            continue
        row = column.rows[0]
        p, (kept, asked) = row.p_after or 0.0, tally(column.rows, "neighbor")
        said = escape(short_answers(row, view.new)[1])
        said = f'<b class="new">{said}</b>' if row.good else said
        moved = (
            f'<small class="bad">{asked - kept} of {asked} neighbors moved</small>'
            if asked > kept
            else f"<small>{'no neighbor moved' if asked else 'no neighbor tested'}</small>"
        )
        keep = f'<button type="button" data-keep="{i}">Keep layer {layer}</button>'
        keep = keep if column.patch is not None and not (own and view.kept) else ""
        cells.append(
            f'<li class="{"own" if own else ""}"><b>{name}</b><span>says {said}</span>'
            f'<i class="likely" role="img" aria-label="probability {number(p)}">'
            f'<i style="width:{100 * p:.0f}%"></i></i>{moved}{keep}</li>'
        )
    return f'<ul class="five">{"".join(cells)}</ul>'


def interference(found: Prediction, name: str) -> str:
    """A sentence, a figure and a table; `name` is the editor's name on the page."""
    first, (changed, hits, upper) = found.victims[0], found.changed
    said = (
        f"{found.fact.subject} → {found.fact.target_new}, by {name} in layer {found.layer}: "
        f"{changed} of {len(found.victims)} answers changed; among the {upper} with the largest "
        f"predictions, {hits or 'none'} did. The largest prediction was for {first.fact.subject}: "
        f"{_percent(first.rho)} of the edit."
    )
    head = f"{hits} of {changed} changed answers ranked high in the prediction" * (changed > 0)
    parts = f'<div class="pairs wide">{_scatter(found)}<div>{_table(found)}</div></div>'
    return f"<h2>{head or 'No other answer changed'}</h2>{finding(said)}{parts}"


def _scatter(found: Prediction) -> str:
    """A scatter plot of predicted against measured interference."""
    if all(victim.share is None for victim in found.victims):
        return (
            f'<p class="note">This edit did not write into layer {found.layer}, so there is no '
            "measured fraction to compare. The answers below were measured.</p>"
        )
    groups = [(one, vs) for one in GROUPS if (vs := [v for v in found.victims if v.group == one])]
    figure = plot.scatter(
        {one: ([100 * v.rho for v in vs], [100 * v.share for v in vs]) for one, vs in groups},
        "predicted: % of the edit that reaches the fact; below 0: its opposite",
        "measured: % that reached it",
        filled={one: [v.changed for v in vs] for one, vs in groups},
        colors=COLORS,
    )
    ax = figure.axes[0]
    ax.axhline(color=plot.QUIET, linewidth=0.6)
    ax.axvline(color=plot.QUIET, linewidth=0.6)
    ends = sorted((*ax.get_xlim(), *ax.get_ylim()))[::3]  # the smallest and the largest
    ax.plot(ends, ends, color=plot.QUIET, linewidth=1, linestyle="--")
    said = (
        "Each point is a fact. On the dashed line, the prediction is exact. Filled points are "
        "facts with an answer that changed; the numbers below the figure count them."
    )
    return f"<div>{picture(figure, said)}{hint(said)}</div>"


def _table(found: Prediction) -> str:
    """The facts with changed answers, then the others, each sorted by prediction."""
    heads = ("Other fact", "Kind", "Predicted", "Measured", "Answer")
    rows = list(map(_row, sorted(found.victims, key=lambda victim: not victim.changed)))
    more = table("rows victims", heads, rows[LISTED:]) if len(rows) > LISTED else None
    shown = table("rows victims", heads, rows[:LISTED])
    return shown + folded(f"{len(rows) - LISTED} more", more)


def _row(victim: Victim) -> str:
    said = f"{escape(victim.before)} → <b>{escape(victim.after)}</b>" if victim.changed else "same"
    return (
        f'<tr><td class="prompt">{escape(victim.fact.text)}</td>'
        f'<td data-name="Kind">{victim.group}</td>'
        f'<td class="n" data-name="Predicted">{_percent(victim.rho)}</td>'
        f'<td class="n" data-name="Measured">{_percent(victim.share)}</td>'
        f'<td data-name="Answer"><span>{said}</span></td></tr>'
    )


def _percent(share: float | None) -> str:
    """A fraction of an edit as a percentage, with a typographic minus: −2.5%."""
    return "–" if share is None else f"{round(100 * share, 1) + 0:.1f}%".replace("-", "−")


def beside(parts: list[str]) -> str:
    """Lay out parts of a page side by side, or one below another on a phone."""
    return f'<div class="pairs">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def picture(figure: Figure, text: str) -> str:
    """A figure as an inline image, with its text alternative.

    It is as narrow as a phone's screen, so phones can show it without sideways scrolling.
    """
    figure.set_size_inches(WIDTH, figure.get_size_inches()[1])
    for ax in figure.axes:
        ax.set_xlabel(textwrap.fill(ax.get_xlabel(), 36))
    for legend in list(figure.legends):  # one name below another
        names = [text.get_text() for text in legend.get_texts()]
        figure.legend(legend.legend_handles, names, loc="outside lower center")
        legend.remove()
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=220)
    data = base64.b64encode(held.getvalue()).decode()
    return (
        f'<div class="figure"><img alt="{escape(text)}" src="data:image/png;base64,{data}"></div>'
    )
