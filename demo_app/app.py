"""The page: layout and wiring only. What happens is in session.py, how it looks in render.py.

Every handler is a generator that reads its job's progress, holds no lock and no patch, and asks the
job to stop when it is closed. A visitor is known by the id that Gradio gives his open page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from . import render
from .about import about
from .compare import View
from .session import Studio, Written
from .worker import Job, Progress, Stopped, Trouble

TITLE = "Edit a language model's memory"
OPEN = {"concurrency_limit": None, "show_progress": "hidden"}  # the one worker is the line

SHOW_RESULT = """(...given) => {
  if (innerWidth < 720) document.querySelector("#result").scrollIntoView({behavior: "smooth"});
  return given;
}"""  # on a phone what happened stands below the form


def build(studio: Studio, ready: View) -> gr.Blocks:
    """The page over a studio; `ready` is the view that stands on it when it opens."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        with gr.Row(elem_id="top"):
            gr.HTML(f"<h1>{TITLE}</h1>", scale=5, min_width=320)
            live = gr.HTML(render.header(studio.lm.name, 0), scale=5, min_width=280)
            last = gr.Button("Undo last", size="sm", interactive=False, scale=0, min_width=100)
            everything = gr.Button("Undo all", size="sm", interactive=False, scale=0, min_width=100)
        with gr.Tabs(selected="edit"):
            with gr.Tab("Edit & compare", id="edit"):
                Page(studio, ready, live, last, everything)
            with gr.Tab("About", id="about"):
                with gr.Column(elem_classes="card"):
                    gr.HTML(about(studio.lm.name))

        def leave(request: gr.Request) -> None:
            studio.sessions.drop(request.session_hash)

        demo.unload(leave)
    return demo.queue(max_size=200)


class Page:
    """The first tab: a form, what happened, and a free prompt."""

    def __init__(
        self, studio: Studio, ready: View, live: gr.HTML, last: gr.Button, everything: gr.Button
    ) -> None:
        self.studio = studio
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="card", elem_id="form"):
                self.form(ready)
            with gr.Column(scale=11, min_width=320, elem_classes="card", elem_id="result"):
                headline = gr.HTML(render.headline(ready))
                status = gr.HTML(render.status(ready), elem_id="status")
                table = gr.HTML(render.table(ready), elem_id="table")
        self.outputs = [status, headline, table, live, last, everything, self.go, self.stop]
        with gr.Column(elem_classes="card", elem_id="write"):
            self.free()
        self.wire(last, everything)

    # ---- layout --------------------------------------------------------------------------------

    def form(self, ready: View) -> None:
        studio, fact = self.studio, ready.subject.case.fact
        editors = studio.editors()
        first = next(iter(editors))
        own = studio.settings(first)
        gr.HTML('<h2 class="name">What to change</h2>')
        self.example = gr.Dropdown(
            list(studio.examples),
            value=studio.ready,
            label="Example",
            info="or type your own below",
        )
        self.subject = gr.Textbox(fact.subject, label="Subject", max_lines=1)
        self.prompt = gr.Textbox(
            fact.prompt, label="Prompt", max_lines=3, info="with {} or the subject itself in it"
        )
        self.target = gr.Textbox(fact.target_new, label="New answer", max_lines=1)
        self.editor = gr.Dropdown(
            [(name, key) for key, (name, _) in editors.items()], value=first, label="Editor"
        )
        self.told = gr.HTML(_told(editors[first][1]))
        with gr.Row():
            self.go = gr.Button("Edit", variant="primary", scale=3, min_width=120)
            self.stop = gr.Button("Stop", interactive=False, scale=1, min_width=70)
        with gr.Accordion("Prompts of your own, settings", open=False):
            self.own = gr.Textbox(
                "",
                label="Ask these as well",
                info="one prompt per line, up to 8",
                lines=3,
                max_lines=8,
            )
            with gr.Row():
                layers = f"0 to {studio.lm.n_layers - 1}"
                self.layer = _number("Layer", layers, own["layer"])
                self.steps = _number("Steps", "at most", own["steps"])

    def free(self) -> None:
        gr.HTML('<h2 class="name">Write on</h2>')
        with gr.Row(elem_id="ask"):
            self.text = gr.Textbox(
                "My trip to see the Eiffel Tower began when I arrived in", show_label=False,
                label="Free prompt", max_lines=3, scale=8, min_width=260,
            )  # fmt: skip
            self.chat = gr.Checkbox(
                False, label="ask as chat", container=False, scale=1, min_width=120
            )
            self.write = gr.Button("Go", scale=0, min_width=90)
        with gr.Row(equal_height=True):
            first, second = render.unwritten()
            with gr.Column(min_width=280):
                self.before = gr.HTML(first)
            with gr.Column(min_width=280):
                self.after = gr.HTML(second)

    # ---- wiring --------------------------------------------------------------------------------

    def wire(self, last: gr.Button, everything: gr.Button) -> None:
        studio, fields = self.studio, [self.subject, self.prompt, self.target]

        def fill(label: str) -> Any:
            with _told_plainly():
                fact = studio.example(label).fact
            return fact.subject, fact.prompt, fact.target_new, ""

        def look(label: str, request: gr.Request) -> Iterator:
            def start(session: Any) -> Job:
                fact = studio.example(label).fact
                return studio.look(
                    session, studio.subject(fact.subject, fact.prompt, fact.target_new)
                )

            yield from self.run(request, start)

        def edit(
            subject: str, prompt: str, target: str, editor: str, own: str,
            layer: int | None, steps: int | None, request: gr.Request,
        ) -> Iterator:  # fmt: skip
            def start(session: Any) -> Job:
                wanted = studio.subject(subject, prompt, target, own)
                return studio.edit(session, wanted, editor, layer, steps)

            yield from self.run(request, start)

        def undo_last(request: gr.Request) -> Iterator:
            yield from self.run(request, studio.undo)

        def undo_all(request: gr.Request) -> Iterator:
            yield from self.run(request, lambda session: studio.undo(session, everything=True))

        def stop(request: gr.Request) -> None:
            studio.sessions.get(request.session_hash).stop()

        def choose(editor: str) -> Any:
            with _told_plainly():
                own = studio.settings(editor)
            layer, steps = (
                gr.Number(value=own[k], visible=own[k] is not None) for k in ("layer", "steps")
            )
            return _told(studio.editors()[editor][1]), layer, steps

        asked = [*fields, self.editor, self.own, self.layer, self.steps]
        self.example.input(
            fill, self.example, [*fields, self.own], api_name="fill", **OPEN
        ).success(look, self.example, self.outputs, api_name="look", **OPEN)
        gr.on(
            [self.go.click, self.target.submit],
            edit,
            asked,
            self.outputs,
            api_name="edit",
            js=SHOW_RESULT,
            **OPEN,
        )
        last.click(undo_last, None, self.outputs, api_name="undo_last", **OPEN)
        everything.click(undo_all, None, self.outputs, api_name="undo_all", **OPEN)
        self.stop.click(stop, api_name="stop", **OPEN)
        self.editor.input(
            choose, self.editor, [self.told, self.layer, self.steps], api_name="editor", **OPEN
        )
        gr.on(
            [self.write.click, self.text.submit], self.written, [self.text, self.chat],
            [self.before, self.after], api_name="write", **OPEN,
        )  # fmt: skip

    def run(self, request: gr.Request, start: Callable[[Any], Job]) -> Iterator[tuple]:
        """Start a job, show its progress, then its view; in the end the page as it was."""
        session = self.studio.sessions.get(request.session_hash)
        job = None
        try:
            job = start(session)
            for progress in job.watch():
                yield self.working(progress, self.studio.worker.ahead(job))
            view = job.outcome()
        except Trouble as error:
            yield self.idle(session, status=render.sorry(str(error)))
            raise _error(error) from None
        except Stopped:
            yield self.idle(session, status=render.sorry("Stopped; nothing was changed."))
            return
        finally:
            if job is not None:
                job.stop()
        if view.note and not view.undone:
            gr.Warning(escape(view.note), title="Note")
        yield self.idle(session, render.status(view), view)

    def working(self, progress: Progress, ahead: int) -> tuple:
        """The page while a job runs: the table stays, the buttons wait."""
        off = gr.Button(interactive=False)
        bar = render.busy(progress, ahead)
        same = gr.skip()
        return bar, same, same, same, off, off, off, gr.Button(interactive=True)

    def idle(self, session: Any, status: str, view: View | None = None) -> tuple:
        """The page at rest, with a view's table or the one that is there."""
        edits = len(session.patches)
        undo = gr.Button(interactive=edits > 0)
        head = render.header(self.studio.lm.name, edits)
        shown = (gr.skip(), gr.skip())
        if view is not None:
            shown = render.headline(view), render.table(view)
        on, off = gr.Button(interactive=True), gr.Button(interactive=False)
        return status, *shown, head, undo, undo, on, off

    def written(self, prompt: str, chat: bool, request: gr.Request) -> Iterator[tuple]:
        """The free prompt continued, token by token, before and after."""
        session = self.studio.sessions.get(request.session_hash)
        job = None
        try:
            job = self.studio.write(session, prompt, chat)
            for progress in job.watch():
                said = progress.partial or Written(live=len(session.patches))
                yield render.written(prompt, said, False, chat)
            yield render.written(prompt, job.outcome(), True, chat)
        except Trouble as error:
            raise _error(error) from None
        except Stopped:
            return
        finally:
            if job is not None:
                job.stop()


class _told_plainly:
    """Known errors inside become the page's message."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, Trouble):
            raise _error(error) from None


def _error(error: Exception) -> gr.Error:
    return gr.Error(escape(str(error)), duration=6, print_exception=False)


def _number(label: str, info: str, value: int | None) -> gr.Number:
    return gr.Number(
        value, label=label, info=info, visible=value is not None, precision=0, min_width=110
    )


def _told(sentence: str) -> str:
    return f'<p class="about-editor">{escape(sentence)}</p>'
