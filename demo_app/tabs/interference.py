"""The tab that predicts which facts an edit disturbs, and shows afterwards how good that was."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from ..html import prediction, render
from ..session.interference import Forecasts
from ..session.predictions import Prediction
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job, Progress
from .edit import Page
from .jobs import OPEN, follow

HELP = (
    "An edit is written at one key, its subject's. Other facts have keys that overlap with it; "
    "<b>ρ</b> is the share of the write that lands on theirs. Predict it for what stands in the "
    "form of the first tab, press Edit there, and come back to measure."
)


class Interference:
    """Two buttons, a sentence, a figure, a table."""

    def __init__(self, studio: Studio, page: Page) -> None:
        self.studio, self.forecasts = studio, Forecasts(studio)
        with gr.Column(elem_classes="card", elem_id="interference"):
            gr.HTML('<h2 class="name">Predict the interference</h2>')
            gr.HTML(f'<p class="about-editor">{HELP}</p>')
            with gr.Row():
                self.go = gr.Button("Predict", variant="primary", scale=0, min_width=140)
                self.measure = gr.Button("Measure the last edit", scale=0, min_width=250)
                self.stop = gr.Button("Stop", scale=0, min_width=90, interactive=False)
            self.status = gr.HTML("", elem_id="foretold")
            self.result = gr.HTML("")
        self.wire(page)

    def wire(self, page: Page) -> None:
        """Every event of the tab; the fact is that of the first tab's form."""
        studio, form = self.studio, page.form

        def predict(
            subject: str,
            prompt: str,
            target: str,
            first: list[str],
            more: list[str],
            request: gr.Request,
        ) -> Iterator:
            def start(session: Session) -> Job:
                wanted = studio.choices.subject(subject, prompt, target)
                editor = studio.choices.several([*(first or ()), *(more or ())])[0]
                return self.forecasts.predict(session, wanted, editor)

            yield from follow(studio, request, start, self.working, self.rest)

        def measure(request: gr.Request) -> Iterator:
            yield from follow(studio, request, self.forecasts.measure, self.working, self.rest)

        def stop(request: gr.Request) -> None:
            studio.sessions.get(request.session_hash).stop()

        outputs = [self.status, self.result, self.go, self.measure, self.stop]
        given = [*form.fact, form.editors, form.more]
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
        name = self.studio.choices.editors()[found.editor][0]
        return {
            self.status: prediction.sentence(found, name),
            self.result: prediction.shown(found),
            **page,
        }
