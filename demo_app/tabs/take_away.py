"""The tab to take the edits home as files, code and a link, and to load a patch again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ..html import render
from ..inside import panel
from ..session import links, take_away
from ..session.long_run import LongRun
from ..session.studio import Studio
from ..session.uploads import PATCH
from .jobs import handed_out
from .long_runs import OPEN, Running

FILES = {  # kind -> (button, what it is)
    "patch": ("The patch", "a few numbers beside the model; lib.Patch.load reads it"),
    "adapter": ("A PEFT adapter", "LoRA files for peft; where the update is low rank, exact"),
    "model": ("The whole model", "a folder for transformers, with the edits in its weights"),
}
WHOLE = "(q) => new URL(q, location.href.split(/[?#]/)[0]).href"  # the address as visitors see it


class TakeAway:
    """Files on the left, code and link on the right.

    `loaded` is the event after which other tabs may show the visitor's new edits.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio, self.running = studio, Running(studio)
        with gr.Row(equal_height=False):
            with gr.Column(elem_classes="card", min_width=320, elem_id="take"):
                self.files()
            with gr.Column(elem_classes="card", min_width=320, elem_id="code"):
                gr.HTML('<h2 class="name">The same in Python</h2>')
                gr.HTML(render.hint("These lines make your edits again, wherever this project is."))
                self.code = gr.Code(
                    take_away.code(studio, studio.visitor()),
                    language="python",
                    interactive=False,
                    label="Code",
                    show_label=False,
                    lines=5,
                    wrap_lines=True,
                    buttons=["copy"],
                    show_line_numbers=False,
                )
                gr.HTML('<h2 class="name">A link to this example</h2>')
                gr.HTML(
                    render.hint(
                        "It opens the page with this fact, its editors and your own prompts."
                    )
                )
                self.link = gr.Textbox(
                    "",
                    label="Link",
                    show_label=False,
                    interactive=False,
                    buttons=["copy"],
                    max_lines=2,
                    elem_id="link",
                )
        self.wire()

    def files(self) -> None:
        gr.HTML('<h2 class="name">Download</h2>')
        self.about = gr.HTML(render.hint(escape(panel.about(self.studio, self.studio.visitor()))))
        self.buttons = {}
        for kind, (name, what) in FILES.items():
            with gr.Row(elem_classes="offer"):
                self.buttons[kind] = gr.Button(name, size="sm", scale=0, min_width=150)
                gr.HTML(render.hint(what), min_width=160)
        self.status = gr.HTML("", elem_id="take-status", elem_classes="line")
        self.file = gr.DownloadButton("Download", variant="primary", visible=False)
        self.stop = gr.Button("Stop", visible=False, size="sm")
        gr.HTML('<h2 class="name">Load a patch again</h2>')
        gr.HTML(
            render.hint(
                "It takes the place of your present edits. Only patches of this model fit, up to "
                f"{PATCH / 1e6:.0f} MB."
            )
        )
        self.upload = gr.UploadButton(
            "Load a .safetensors file",
            file_types=[".safetensors"],
            size="sm",
            scale=0,
            min_width=220,
        )

    def wire(self) -> None:
        outputs = [self.status, self.file, self.stop, *self.buttons.values()]
        for kind, button in self.buttons.items():

            def make(request: gr.Request, kind: str = kind) -> Iterator[tuple]:
                yield from self.made(kind, request)

            button.click(make, None, outputs, api_name=f"download_{kind}", **OPEN)

        def stop(request: gr.Request) -> None:
            self.running.stop(request, "take")

        self.stop.click(stop, None, None, api_name="stop_take_away", **OPEN)
        texts = [self.about, self.code, self.link]
        self.loaded = self.upload.upload(self.load, self.upload, outputs, api_name="load", **OPEN)
        self.loaded.then(self.texts, None, texts, api_visibility="private", **OPEN).then(
            None, self.link, self.link, js=WHOLE
        )

    def opened(self, tab: gr.Tab) -> None:
        """Code and link are those of the visitor's edits whenever the tab is opened."""
        tab.select(
            self.texts, None, [self.about, self.code, self.link], api_name="take_away", **OPEN
        ).then(None, self.link, self.link, js=WHOLE)

    def texts(self, request: gr.Request) -> tuple[str, str, str]:
        """Whose edits, the code, and the link."""
        studio, session = self.studio, self.studio.sessions.get(request.session_hash)
        return (
            render.hint(escape(panel.about(studio, session))),
            take_away.code(studio, session),
            links.link(studio.choices, session),
        )

    def made(self, kind: str, request: gr.Request) -> Iterator[tuple]:
        """A file, with its progress, and the button that downloads it."""
        same, found = gr.skip(), []
        session = self.studio.sessions.get(request.session_hash)
        with tempfile.TemporaryDirectory() as folder:

            def start(run: LongRun) -> Any:
                return take_away.make(run, kind, Path(folder))

            error = None
            try:
                for line in self.running.follow(request, "take", start, found.append):
                    yield line, gr.DownloadButton(visible=False), *self.busy(True)
            except gr.Error as known:
                error = known
            if not found:
                yield same, gr.DownloadButton(visible=False), *self.busy(False)
            else:
                path = found[0]
                size = _size(path.stat().st_size)
                value = handed_out(session, self.file, path)
                button = gr.DownloadButton(label=f"Download, {size}", value=value, visible=True)
                yield render.done(f"{path.name} is ready, {size}."), button, *self.busy(False)
        if error is not None:
            raise error

    def load(self, file: str | None, request: gr.Request) -> Iterator[tuple]:
        """An uploaded patch in the place of the visitor's edits."""
        same, found, error = gr.skip(), [], None
        if not file:
            yield render.sorry("There is no file."), same, *self.busy(False)
            return
        name = Path(file).name
        self.studio.sessions.get(request.session_hash).owns(file)

        def start(run: LongRun) -> Any:
            return take_away.load(run, file, name)

        try:
            for line in self.running.follow(request, "take", start, found.append):
                yield line, gr.DownloadButton(visible=False), *self.busy(True)
        except gr.Error as known:
            error = known
        line = render.done(found[0]) if found else same
        yield line, same, *self.busy(False)
        if error is not None:
            raise error

    def busy(self, running: bool) -> tuple:
        """Stop and the three buttons, while something runs or at rest."""
        free = gr.Button(interactive=not running)
        return gr.Button(visible=running), *[free] * len(self.buttons)


def _size(count: int) -> str:
    for unit, digits in (("bytes", 0), ("kB", 0), ("MB", 1)):
        if count < 1000 or unit == "MB":
            return f"{count:.{digits}f} {unit}"
        count /= 1000
    return ""
