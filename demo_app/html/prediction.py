"""A prediction of interference as HTML: a sentence, a table, and a figure once it is measured."""

from __future__ import annotations

from html import escape

from lib import plot

from ..session.predictions import GROUPS, Prediction, Victim
from .picture import picture
from .render import number

RHO = "Share of this edit's write that lands on the key of the other fact; 0: none of it."
OWN = (
    "The write that will land on this fact, relative to what the layer puts out there by itself; "
    "known once this editor has written something here."
)
COLORS = dict(
    zip(GROUPS, (plot.COLORS[name] for name in ("neighbor", "edited", "unrelated")), strict=True)
)


def sentence(found: Prediction, name: str) -> str:
    """The result in words; `name` is the editor's as the page writes it."""
    first = found.victims[0]
    fact = f"{escape(found.fact.subject or '')} → {escape(found.fact.target_new)}"
    line = (
        f"<p><b>{fact}</b>, {escape(name)}, layer {found.layer}: of {len(found.victims)} facts in "
        f"view “{escape(first.fact.subject or '')}” lies most in the way, with ρ = "
        f"{_signed(first.rho, 2)}.</p>"
    )
    if found.measured:
        line += f"<p>{_measured(found)}</p>"
    return f'<div class="status done" role="status">{line}</div>'


def _measured(found: Prediction) -> str:
    """How many answers changed, and whether they were those with the largest |ρ|."""
    changed = [v for v in found.victims if v.changed]
    upper = found.victims[: max(1, len(found.victims) // 3)]
    hits = sum(v.changed for v in upper)
    line = f"{len(changed)} of {len(found.victims)} answers changed"
    line += f", {hits} among the {len(upper)} with the largest |ρ|." if changed else "."
    if (r := found.agreement()) is not None:
        line += f" Rank correlation of |ρ| with how far the answers moved (KL): {_signed(r, 2)}."
    return line


def shown(found: Prediction, drawn: bool = True) -> str:
    """The scatter plot, once measured, and the table; the table alone with drawn=False."""
    figure = _figure(found) if found.measured and drawn else ""
    return f'<div class="result">{figure}{_table(found)}</div>'


def _figure(found: Prediction) -> str:
    if all(v.share is None for v in found.victims):
        return (
            f'<p class="note">This edit did not write into layer {found.layer}, so there is no '
            "share to compare; the answers below were measured.</p>"
        )
    points, filled = {}, {}
    for group in GROUPS:
        some = [v for v in found.victims if v.group == group]
        if some:
            points[group] = [abs(v.rho) for v in some], [v.share for v in some]
            filled[group] = [v.changed for v in some]
    figure = plot.scatter(
        points,
        "predicted: |ρ|, share of the write that lands on the fact",
        "measured share, from the patch",
        filled=filled,
        colors=COLORS,
    )
    ax = figure.axes[0]
    end = max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.plot([0, end], [0, end], color=plot.QUIET, linewidth=1, linestyle="--")
    text = (
        "Predicted share against measured share for each fact in view, with the diagonal; full "
        "points are facts whose answer changed. The table below has every number."
    )
    said = (
        "On the dashed line the prediction is exact; full points are facts whose answer changed "
        "(the legend counts them)."
    )
    return f'<div class="next plain"><p>{said}</p>{picture(figure, text)}</div>'


def _table(found: Prediction) -> str:
    titles = [
        "Fact in view",
        "Why",
        f'<abbr title="{RHO}">ρ</abbr>',
        f'<abbr title="{OWN}">lands</abbr>',
    ]
    if found.measured:
        titles += ["ρ, measured", "KL (nats)", "Answer"]
    head = "".join(
        f'<th scope="col"{" class=n" if 1 < i < 6 else ""}>{title}</th>'
        for i, title in enumerate(titles)
    )
    rows = "".join(_row(victim, found.measured) for victim in found.victims)
    return (
        f'<table class="rows victims"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(v: Victim, measured: bool) -> str:
    cells = [
        f'<td class="prompt">{escape(v.fact.text)}</td>',
        f'<td data-name="Why">{v.group}</td>',
        f'<td class="n" data-name="ρ">{_signed(v.rho, 3)}</td>',
        f'<td class="n" data-name="Lands">{"–" if v.own is None else f"{100 * v.own:.1f} %"}</td>',
    ]
    if measured:
        share = "–" if v.share is None else f"{v.share:.3f}"
        said = f"{escape(v.before)} → <b>{escape(v.after or '')}</b>"
        cells += [
            f'<td class="n" data-name="Measured">{share}</td>',
            f'<td class="n" data-name="KL, nats"><span>{number(v.kl)}</span></td>',
            f'<td data-name="Answer"><span>{said if v.changed else "same"}</span></td>',
        ]
    return f"<tr>{''.join(cells)}</tr>"


def _signed(value: float, digits: int) -> str:
    """With its sign, and the minus of the typesetters: −0.25."""
    return f"{value:+.{digits}f}".replace("-", "−")
