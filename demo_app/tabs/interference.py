"""The tab that predicts which facts an edit disturbs, and shows afterwards how good that was."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import gradio as gr

from ..html import prediction, render, stored
from ..session.choices import completed
from ..session.interference import Forecasts
from ..session.predictions import Prediction
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job, Progress
from ..stored.examples import Examples
from .edit import Page
from .jobs import OPEN, follow

HELP = (
    "An edit is written at one key, its subject's. Other facts have keys that overlap with it; "
    "<b>ρ</b> is the share of the write that lands on theirs. Predict it for what stands in the "
    "form of the first tab, press Edit there, and come back: what then happened is measured."
)


class Interference:
    """Two buttons, a sentence, a figure, a table; a stored example of them to begin with."""

    def __init__(self, studio: Studio, page: Page, examples: Examples | None = None) -> None:
        self.studio, self.forecasts, self.examples = studio, Forecasts(studio), examples
        first = None if examples is None else examples.forecast
        with gr.Column(elem_classes="card", elem_id="interference"):
            gr.HTML('<h2 class="name">Predict the interference</h2>')
            gr.HTML(f'<p class="about-editor">{HELP}</p>')
            with gr.Row():
                self.go = gr.Button("Predict", variant="primary", scale=0, min_width=140)
                self.measure = gr.Button("Measure the last edit", scale=0, min_width=250)
                self.stop = gr.Button("Stop", scale=0, min_width=90, interactive=False)
            self.caption = gr.HTML(self.whose(), elem_classes="line", elem_id="foretold-for")
            said = "" if first is None else prediction.sentence(first, self.named(first))
            self.status = gr.HTML(said, elem_id="foretold")
            self.result = gr.HTML("" if first is None else prediction.shown(first, drawn=False))
            self.begun = gr.State(False)  # whether this page has more than the table to begin with
        self.wire(page)

    def named(self, found: Prediction) -> str:
        """The editor of a prediction, as the page writes it."""
        return self.studio.choices.editors()[found.editor][0]

    def whose(self) -> str:
        """The caption of the stored example, or that there is none."""
        examples, choices = self.examples, self.studio.choices
        if examples is None or examples.forecast is None:
            return stored.none_of(self.studio.lm.name, "Press Predict.")
        found = examples.forecast
        return stored.edit_of(examples.model, choices.label(found.fact), self.named(found))

    @cached_property
    def picture(self) -> str:
        """The stored example with its figure, drawn once for all visitors."""
        return prediction.shown(self.examples.forecast) if self.examples else ""

    def opened(self, tab: gr.Tab) -> None:
        """Draw the stored example, and measure the visitor's last edit, when the tab is opened."""
        outputs = [*self.outputs, self.begun]
        tab.select(self.look, self.begun, outputs, api_name="foretell", **OPEN)

    def look(self, begun: bool, request: gr.Request) -> Iterator[dict]:
        """The stored example with its figure; then the last edit, where that was not measured."""
        session = self.studio.sessions.get(request.session_hash)
        page: dict = {self.begun: True}
        if not begun and self.examples is not None and self.examples.forecast is not None:
            page[self.result] = self.picture
        yield page
        if self.forecasts.unmeasured(session):
            yield from follow(self.studio, request, self.forecasts.measure, self.working, self.rest)

    def wire(self, page: Page) -> None:
        """Every event of the tab; the fact is that of the first tab's form."""
        studio, form = self.studio, page.form

        def predict(
            subject: str,
            prompt: str,
            target: str,
            editors: list[str],
            request: gr.Request,
        ) -> Iterator:
            def start(session: Session) -> Job:
                whole = completed(subject, prompt)
                wanted = studio.choices.subject(subject, whole, target)
                editor = studio.choices.several(editors)[0]
                return self.forecasts.predict(session, wanted, editor)

            yield from follow(studio, request, start, self.working, self.rest)

        def measure(request: gr.Request) -> Iterator:
            yield from follow(studio, request, self.forecasts.measure, self.working, self.rest)

        def stop(request: gr.Request) -> None:
            studio.sessions.get(request.session_hash).stop()

        outputs = self.outputs = [
            self.caption,
            self.status,
            self.result,
            self.go,
            self.measure,
            self.stop,
        ]
        given = [*form.fact, form.editors]
        self.go.click(predict, given, outputs, api_name="predict", **OPEN)
        self.measure.click(measure, None, outputs, api_name="measure", **OPEN)
        self.stop.click(stop, api_name="stop_predicting", **OPEN)

    def working(self, progress: Progress, ahead: int) -> dict:
        """The tab while a job runs."""
        off = gr.Button(interactive=False)
        return {
            self.status: render.busy(progress, ahead),
            self.go: off,
            self.measure: off,
            self.stop: gr.Button(interactive=True),
        }

    def rest(self, session: Session, status: str | None, found: Prediction | None) -> dict:
        """The tab at rest, with what was found or what went wrong."""
        on = gr.Button(interactive=True)
        page = {self.go: on, self.measure: on, self.stop: gr.Button(interactive=False)}
        if found is None:
            return {self.status: status, **page}
        what = "measured after the edit" if found.measured else "predicted; not edited yet"
        return {
            self.caption: stored.own(f"{what}."),
            self.status: prediction.sentence(found, self.named(found)),
            self.result: prediction.shown(found),
            **page,
        }
