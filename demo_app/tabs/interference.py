"""The tab that predicts whom an edit disturbs, and afterwards shows the prediction's worth."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib import plot
from lib.plot import points as maps

from ..html import render
from ..html.next_word import picture
from ..html.render import number
from ..session.interference import GROUPS, Prediction, Victim
from ..session.worker import Job, Progress
from .jobs import OPEN, follow

if TYPE_CHECKING:
    from ..session.studio import Studio
    from .edit import Page

HELP = (
    "An edit is written at one key, its subject's. Other facts have keys that overlap with it; "
    "<b>ρ</b> is the share of the write that lands on theirs. Predict it for what stands in the "
    "form of the first tab, press Edit there, and come back to measure."
)
RHO = "Share of this edit's write that lands on the key of the other fact; 0: none of it."
OWN = (
    "The write that will land on this fact, relative to what the layer puts out there by itself; "
    "known once this editor has written something here."
)
COLORS = {GROUPS[0]: plot.COLORS["neighbor"], GROUPS[1]: plot.COLORS["edited"],
          GROUPS[2]: plot.COLORS["unrelated"]}  # fmt: skip


class Interference:
    """Two buttons, a sentence, a figure, a table."""

    def __init__(self, studio: Studio, page: Page) -> None:
        self.studio, form = studio, page.form
        with gr.Column(elem_classes="card", elem_id="interference"):
            gr.HTML('<h2 class="name">Predict the interference</h2>')
            gr.HTML(f'<p class="about-editor">{HELP}</p>')
            with gr.Row():
                self.go = gr.Button("Predict", variant="primary", scale=0, min_width=140)
                self.measure = gr.Button("Measure the last edit", scale=0, min_width=250)
                self.stop = gr.Button("Stop", scale=0, min_width=90, interactive=False)
            self.status = gr.HTML("", elem_id="foretold")
            self.result = gr.HTML("")
        outputs = [self.status, self.result, self.go, self.measure, self.stop]

        def predict(
            subject: str, prompt: str, target: str, first: list[str], more: list[str],
            request: gr.Request,
        ) -> Iterator:  # fmt: skip
            def start(session: Any) -> Job:
                wanted = studio.subject(subject, prompt, target)
                return studio.predict(session, wanted, studio.several([*first, *more])[0])

            yield from follow(studio, request, start, self.working, self.rest)

        def measure(request: gr.Request) -> Iterator:
            yield from follow(studio, request, studio.measure, self.working, self.rest)

        def stop(request: gr.Request) -> None:
            studio.sessions.get(request.session_hash).stop()

        given = [*form.fact, form.editors, form.more]
        self.go.click(predict, given, outputs, api_name="predict", **OPEN)
        self.measure.click(measure, None, outputs, api_name="measure", **OPEN)
        self.stop.click(stop, api_name="stop_predicting", **OPEN)

    def working(self, progress: Progress, ahead: int) -> dict:
        """While it runs."""
        off = gr.Button(interactive=False)
        return {self.status: render.busy(progress, ahead), self.go: off, self.measure: off,
                self.stop: gr.Button(interactive=True)}  # fmt: skip

    def rest(self, session: Any, status: str | None, found: Prediction | None) -> dict:
        """At rest, with what was found or what went wrong."""
        on = gr.Button(interactive=True)
        page = {self.go: on, self.measure: on, self.stop: gr.Button(interactive=False)}
        if found is None:
            return {self.status: status, **page}
        name = self.studio.editors()[found.editor][0]
        return {self.status: sentence(found, name), self.result: shown(found, name), **page}


def sentence(found: Prediction, name: str) -> str:
    """What came of it, in words."""
    first = found.victims[0]
    fact = f"{escape(found.fact.subject or '')} → {escape(found.fact.target_new)}"
    line = (
        f"<p><b>{fact}</b>, {escape(name)}, layer {found.layer}: of {len(found.victims)} facts in "
        f"view “{escape(first.fact.subject or '')}” lies most in the way, with ρ = "
        f"{_signed(first.rho, 2)}.</p>"
    )
    if found.measured:
        changed = [v for v in found.victims if v.changed]
        upper = found.victims[: max(1, len(found.victims) // 3)]
        hits = sum(v.changed for v in upper)
        line += f"<p>{len(changed)} of {len(found.victims)} answers changed" + (
            f", {hits} among the {len(upper)} with the largest |ρ|." if changed else "."
        )
        if (r := found.agreement()) is not None:
            line += (
                f" Rank correlation of |ρ| with how far the answers moved (KL): {_signed(r, 2)}."
            )
        line += "</p>"
    return f'<div class="status done" role="status">{line}</div>'


def shown(found: Prediction, name: str) -> str:
    """The scatter plot, once measured, and the table."""
    return f'<div class="result">{_figure(found) if found.measured else ""}{_table(found)}</div>'


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
    figure = maps.scatter(
        points, "predicted: |ρ|, share of the write that lands on the fact",
        "measured share, from the patch", filled=filled, colors=COLORS,
    )  # fmt: skip
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
    titles = ["Fact in view", "Why", f'<abbr title="{RHO}">ρ</abbr>',
              f'<abbr title="{OWN}">lands</abbr>']  # fmt: skip
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
    return f"{value:+.{digits}f}".replace("-", "−")
