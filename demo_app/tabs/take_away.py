"""The lab's last question: the edits as files and as Python code."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr

from ..html import render
from ..html.theme import read
from ..session import take_away
from ..session.studio import Studio
from ..session.views import View
from ..session.visitors import Session
from ..session.worker import Job, Progress
from .jobs import HIDDEN, OPEN, follow, handed_out, stopping

FILES = {  # kind -> (button, description)
    "patch": ("The patch", "a small file of changes to the model; lib.Patch.load reads it"),
    "adapter": ("A PEFT adapter", "LoRA files for peft; exact if the update is low rank"),
    "model": ("The whole model", "a folder for transformers, including the edits"),
    "csv": ("The answers", "the answers in “Try” as CSV, with editors, probabilities and verdicts"),
}


class TakeAway:
    """Files, and the lines of Python that make the same edits."""

    def __init__(self, studio: Studio, shown: Callable[[Session], View]) -> None:
        """shown: returns the first place's view for a visitor."""
        self.studio, self.shown = studio, shown
        with gr.Accordion("Take it away", open=False, elem_id="take") as self.fold:
            offers = "; ".join(f"<b>{name}</b>: {what}" for name, what in FILES.values())
            gr.HTML(render.hint(f"Your edits and their answers as files. {offers}."))
            with gr.Row(elem_classes="press"):
                self.buttons = {
                    kind: gr.Button(name, scale=0, min_width=150)
                    for kind, (name, _) in FILES.items()
                }
                self.stop = gr.Button("Stop", visible=False, scale=0, min_width=90)
            self.status = gr.HTML("", elem_id="take-status", elem_classes="line")
            self.file = gr.DownloadButton("Download", variant="primary", visible=False)
            gr.HTML(read("over_http.html"))
            gr.HTML(
                render.hint("These lines make the same edits wherever this project is installed.")
            )
            self.code = gr.Code(
                take_away.code(studio, Session()),
                language="python",
                interactive=False,
                label="Code",
                show_label=False,
                wrap_lines=True,
                buttons=["copy"],
                show_line_numbers=False,
                elem_id="code",
            )
        self.outputs = [self.status, self.file, self.stop, self.code, *self.buttons.values()]
        self.wire()

    def wire(self) -> None:
        """Connect the events of the card."""
        for kind, button in self.buttons.items():

            def make(request: gr.Request, kind: str = kind) -> Iterator[dict]:
                yield from self.made(kind, request)

            button.click(make, None, self.outputs, api_name=f"download_{kind}", **OPEN)
        self.stop.click(stopping(self.studio), api_name="stop_take_away", **OPEN)
        self.fold.expand(self.written, None, self.code, **HIDDEN)

    def written(self, request: gr.Request) -> str:
        """The code that makes the visitor's edits."""
        return take_away.code(self.studio, self.studio.sessions.get(request.session_hash))

    def made(self, kind: str, request: gr.Request) -> Iterator[dict]:
        """A file, with its progress, and the button that downloads it."""
        with tempfile.TemporaryDirectory() as folder:

            def start(session: Session) -> Job:
                return take_away.make(self.studio, session, kind, Path(folder), self.shown(session))

            def rest(session: Session, wrong: str | None, path: Path | None) -> dict:
                page = {**self.busy(False), self.code: take_away.code(self.studio, session)}
                if path is None:
                    return {**page, self.status: wrong}
                count = path.stat().st_size
                size = f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
                value = handed_out(session, self.file, path)
                button = gr.DownloadButton(
                    label=f"Download {path.name}, {size}", value=value, visible=True
                )
                said = render.finding(f"✓ {path.name} is ready, {size}.")
                return {**page, self.status: said, self.file: button}

            yield from follow(self.studio, request, start, self.working, rest)

    def working(self, progress: Progress, ahead: int) -> dict:
        """The card while a job runs."""
        off = {self.file: gr.DownloadButton(visible=False)}
        return {**self.busy(True), **off, self.status: render.busy(progress, ahead)}

    def busy(self, running: bool) -> dict:
        """Stop and the other buttons, while a job runs or at rest."""
        free = gr.Button(interactive=not running)
        return {self.stop: gr.Button(visible=running), **dict.fromkeys(self.buttons.values(), free)}
