"""The tab that asks of changed weights whether they were edited, where, and about whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..html import render, stored
from ..html import trace as html
from ..session import tracing
from ..session.findings import Findings, Told, Undone
from ..session.studio import Studio
from ..session.suspects import Suspect, whole_model
from ..session.visitors import Session, discard
from ..session.worker import Job, Progress
from ..stored.examples import Examples
from .jobs import OPEN, follow

SEE = (
    "Somebody hands you weights. Were they edited, in which layer, about whom, and what do they "
    "say now? Draw an edit that the page makes and does not name, or bring a file; examine it; "
    "then have the first suspect taken out again, and be told what it was. Weights prove nothing: "
    "a verdict says what they are <i>consistent with</i>, and some methods hide from it."
)
ALONE, BASE = "The weights alone", "With the base model at hand"
FILE = (
    "A patch, or a safetensors file of this model with changed weights, whole or in parts, up to "
    "{size:.0f} MB."
)


class TraceTab:
    """What lies on the table, how it is examined, and what was found."""

    def __init__(self, studio: Studio, examples: Examples | None = None) -> None:
        self.studio, self.examples = studio, examples
        first = None if examples is None else examples.traced
        with gr.Column(elem_classes="card", elem_id="trace"):
            gr.HTML('<h2 class="name">Was this edited?</h2>')
            gr.HTML(render.hint(SEE))
            with gr.Row(elem_id="trace-bring"):
                self.draw = gr.Button(
                    "Draw a blind edit", variant="primary", scale=0, min_width=200
                )
                self.file = gr.UploadButton(
                    "Bring a .safetensors file",
                    file_types=[".safetensors"],
                    scale=0,
                    min_width=260,
                )
                self.mine = gr.Button("Take my own edits", scale=0, min_width=210)
            gr.HTML(render.hint(FILE.format(size=whole_model(studio.lm) / 1e6)))
            self.table = gr.HTML(html.laid(None), elem_id="trace-table")
            with gr.Row():
                self.how = gr.Radio([ALONE, BASE], value=ALONE, label="How to look", min_width=260)
                self.guess = gr.Radio(
                    list(html.GUESSES), label="Your guess: whom will it name?", min_width=260
                )
            self.lower = gr.Checkbox(
                False,
                label="Only the lower third of the layers (without the base; a third of the time)",
                elem_id="trace-lower",
            )
            self.whole = gr.Checkbox(
                False,
                label="Whole prompts as candidates, too (for methods that write where it ends)",
                elem_id="trace-prompts",
            )
            with gr.Accordion("More candidates", open=False):
                self.more = gr.Textbox(
                    "",
                    label="Names, one per line, beside the classroom’s subjects",
                    lines=3,
                    max_lines=8,
                )
                self.asked = gr.Textbox(
                    "",
                    label="Whole prompts, one per line, beside the classroom’s",
                    lines=3,
                    max_lines=8,
                )
            with gr.Row():
                self.go = gr.Button("Examine", variant="primary", scale=0, min_width=120)
                self.back = gr.Button("Take it out", scale=0, min_width=140, interactive=False)
                self.tell = gr.Button("What was it?", scale=0, min_width=160, interactive=False)
                self.stop = gr.Button("Stop", scale=0, min_width=90, interactive=False)
            self.status = gr.HTML("", elem_id="trace-status", elem_classes="line")
            self.caption = gr.HTML(self.whose(), elem_classes="line", elem_id="trace-whose")
            self.result = gr.HTML(
                "" if first is None else html.shown(first.findings), elem_id="trace-result"
            )
            self.undone = gr.HTML(
                "" if first is None or first.undone is None else html.undone(first.undone),
                elem_id="trace-undone",
            )
            self.told = gr.HTML(
                "" if first is None or first.told is None else html.told(first.told),
                elem_id="trace-told",
            )
        self.wire()

    def whose(self) -> str:
        """The caption of the stored example, or that there is none."""
        examples = self.examples
        if examples is None or examples.traced is None:
            return stored.none_of(self.studio.lm.name, "Draw a blind edit, and press Examine.")
        return html.caption(examples.traced, examples.model)

    def wire(self) -> None:
        """Every event of the tab."""
        buttons = [self.draw, self.file, self.mine, self.go, self.back, self.tell, self.stop]
        outputs = [
            self.status, self.table, self.caption, self.result, self.undone, self.told, *buttons,
        ]  # fmt: skip
        look = [self.how, self.lower, self.more, self.whole, self.asked]
        self.draw.click(self.drawn, None, outputs, api_name="trace_blind", **OPEN)
        self.file.upload(self.brought, self.file, outputs, api_name="trace_file", **OPEN)
        self.mine.click(self.taken, None, outputs, api_name="trace_mine", **OPEN)
        self.go.click(self.looked, look, outputs, api_name="trace", **OPEN)
        self.back.click(self.reversed, None, outputs, api_name="trace_reverse", **OPEN)
        self.tell.click(self.revealed, self.guess, outputs, api_name="trace_reveal", **OPEN)
        self.stop.click(self.end, None, None, api_name="stop_trace", **OPEN)

    def drawn(self, request: gr.Request) -> Iterator[dict]:
        """A blind edit on the table."""

        def start(session: Session) -> Job:
            return tracing.draw(self.studio, session)

        yield from follow(self.studio, request, start, self.working, self.laid)

    def brought(self, file: str | None, request: gr.Request) -> Iterator[dict]:
        """A file on the table."""
        if not file:
            yield {self.status: render.sorry("There is no file.")}
            return
        self.studio.sessions.get(request.session_hash).owns(file)

        def start(session: Session) -> Job:
            return tracing.bring(self.studio, session, file, Path(file).name)

        try:
            yield from follow(self.studio, request, start, self.working, self.laid)
        finally:
            discard(Path(file))  # a whole model is large, and what differs is held in memory

    def taken(self, request: gr.Request) -> Iterator[dict]:
        """The visitor's own edits on the table."""

        def start(session: Session) -> Job:
            return tracing.mine(self.studio, session)

        yield from follow(self.studio, request, start, self.working, self.laid)

    def looked(
        self, how: str, lower: bool, more: str, whole: bool, asked: str, request: gr.Request
    ) -> Iterator[dict]:
        """The examination."""
        examples = self.examples
        null = examples.natural if examples is not None and examples.natural else ()

        def start(session: Session) -> Job:
            return tracing.look(
                self.studio, session, how == BASE, not lower, more, null, whole, asked
            )

        yield from follow(self.studio, request, start, self.working, self.found)

    def reversed(self, request: gr.Request) -> Iterator[dict]:
        """The first suspect taken out."""

        def start(session: Session) -> Job:
            return tracing.reverse(self.studio, session)

        yield from follow(self.studio, request, start, self.working, self.taken_out)

    def revealed(self, guess: str | None, request: gr.Request) -> Iterator[dict]:
        """What it was."""

        def start(session: Session) -> Job:
            return tracing.reveal(self.studio, session)

        def rest(session: Session, status: str | None, found: Told | None) -> dict:
            page = self.free(session)
            if found is None:
                return {self.status: status, **page}
            return {self.status: "", self.told: html.told(found, guess), **page}

        yield from follow(self.studio, request, start, self.working, rest)

    def end(self, request: gr.Request) -> None:
        """Stop the visitor's jobs."""
        self.studio.sessions.get(request.session_hash).stop()

    def working(self, progress: Progress, ahead: int) -> dict:
        """The tab while a job runs."""
        off = gr.Button(interactive=False)
        return {
            self.status: render.busy(progress, ahead),
            self.draw: off,
            self.file: gr.UploadButton(interactive=False),
            self.mine: off,
            self.go: off,
            self.back: off,
            self.tell: off,
            self.stop: gr.Button(interactive=True),
        }

    def free(self, session: Session) -> dict[Any, Any]:
        """The buttons at rest: what can be pressed depends on how far the visitor is."""
        trial, on = session.trial, gr.Button(interactive=True)
        found = trial is not None and trial.findings is not None
        truth = found and trial.suspect.truth is not None
        return {
            self.draw: on,
            self.file: gr.UploadButton(interactive=True),
            self.mine: on,
            self.go: on,
            self.back: gr.Button(interactive=bool(found and trial.spaces)),
            self.tell: gr.Button(interactive=bool(truth)),
            self.stop: gr.Button(interactive=False),
        }

    def laid(self, session: Session, status: str | None, suspect: Suspect | None) -> dict:
        """The tab with something new on the table, nothing of it examined."""
        page = self.free(session)
        if suspect is None:
            return {self.status: status, **page}
        blank = {self.caption: "", self.result: "", self.undone: "", self.told: ""}
        return {self.status: "", self.table: html.laid(suspect), **blank, **page}

    def found(self, session: Session, status: str | None, found: Findings | None) -> dict:
        """The tab with what an examination found."""
        page = self.free(session)
        if found is None:
            return {self.status: status, **page}
        own = stored.own(f"{session.trial.suspect.name}.")
        blank = {self.undone: "", self.told: ""}
        return {
            self.status: "", self.caption: own, self.result: html.shown(found), **blank, **page,
        }  # fmt: skip

    def taken_out(self, session: Session, status: str | None, found: Undone | None) -> dict:
        """The tab with what the reversal reached."""
        page = self.free(session)
        if found is None:
            return {self.status: status, **page}
        return {self.status: "", self.undone: html.undone(found), **page}
