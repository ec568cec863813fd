"""The card in which the model continues a free prompt, before and after the edits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ..html import free_text as html
from ..html import render
from ..session.free_text import LONGEST, WRITE, Writer
from ..session.studio import Studio
from ..session.texts import Alternatives, Writing
from ..session.visitors import Session
from ..session.worker import Job, Stopped, Trouble
from .jobs import HIDDEN, OPEN, call_number, chosen, told

PICK = """
const pick = (event) => {
  const token = event.target.closest("[data-at]");
  if (!token) return;
  if (event.type === "keydown") {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (step) {
      const all = [...token.parentElement.querySelectorAll("[data-at]")];
      const next = all[all.indexOf(token) + step];
      if (next) { token.tabIndex = -1; next.tabIndex = 0; next.focus(); }
    }
    if (step) event.preventDefault();
    if (event.key !== "Enter" && event.key !== " ") return;
  }
  event.preventDefault();
  element.querySelectorAll(".picked").forEach((one) => one.classList.remove("picked"));
  token.classList.add("picked");
  trigger("select", {index: token.dataset.token || "", value: token.dataset.at});
};
element.addEventListener("click", pick);
element.addEventListener("keydown", pick);
"""  # a token of a text, or one of its alternatives, by mouse or keyboard


class Free:
    """A prompt, the texts in two columns, and the alternatives of a token."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.writer = studio, Writer(studio)
        gr.HTML('<h2 class="name">Write on</h2>')
        with gr.Row(elem_id="ask"):
            self.text = gr.Textbox(
                "My trip to see the Eiffel Tower began when I arrived in",
                show_label=False,
                label="Free prompt",
                max_lines=3,
                scale=8,
                min_width=260,
            )
            self.chat = gr.Checkbox(
                False,
                label="ask as chat",
                container=False,
                scale=1,
                min_width=120,
                visible=studio.asker.chats,  # a model without a template cannot be asked so
            )
            self.write = gr.Button("Go", scale=0, min_width=90)
        with gr.Accordion("Decoding", open=False):
            with gr.Row():
                self.tokens = gr.Slider(
                    5, LONGEST, WRITE, step=5, label="New tokens", info="at most", min_width=240
                )
                self.heat = gr.Slider(
                    0,
                    2,
                    0,
                    step=0.1,
                    label="Temperature",
                    min_width=240,
                    info="0: always the most probable token; above, drawn with a fixed seed",
                )
            self.several = gr.Checkbox(
                False,
                label="Three samples",
                info="with a temperature above 0; the same three seeds before and after",
            )
        self.texts = gr.HTML(html.unwritten(), elem_id="written", js_on_load=PICK)
        self.others = gr.HTML("", elem_id="alternatives", js_on_load=PICK)
        self.wire()

    def wire(self) -> None:
        """Go, a token of a text, and one of its alternatives."""
        outputs = [self.texts, self.others]
        gr.on(
            [self.write.click, self.text.submit],
            self.written,
            [self.text, self.chat, self.tokens, self.heat, self.several],
            outputs,
            api_name="write",
            **OPEN,
        )
        self.texts.select(self.looked, None, self.others, **HIDDEN)
        self.others.select(self.forced, None, outputs, **HIDDEN)

    def written(
        self,
        prompt: str,
        chat: bool,
        tokens: int,
        heat: float,
        several: bool,
        request: gr.Request,
    ) -> Iterator[tuple]:
        """The free prompt continued, as it grows."""

        def start(session: Session) -> Job:
            return self.writer.write(session, prompt, chat, tokens, heat, several)

        yield from self.growing(request, start)

    def looked(self, event: gr.EventData, request: gr.Request) -> Iterator[str]:
        """The alternatives of a token that was chosen."""

        def start(session: Session) -> Job:
            return self.writer.alternatives(session, *_place(event))

        for found in self.watched(request, start):
            yield html.alternatives(found) if isinstance(found, Alternatives) else gr.skip()

    def forced(self, event: gr.EventData, request: gr.Request) -> Iterator[tuple]:
        """The texts anew, with an alternative that was chosen."""

        def start(session: Session) -> Job:
            token = re.fullmatch("[0-9]{1,9}", str(chosen(event, "index")))
            return self.writer.force(session, *_place(event), int(token[0]) if token else None)

        yield from self.growing(request, start)

    def growing(self, request: gr.Request, start: Callable[[Session], Job]) -> Iterator[tuple]:
        """The texts while they are written, then with tokens that can be chosen."""
        last = None
        for found in self.watched(request, start):
            if isinstance(found, Writing):
                last = found
                yield html.writing(found, False), ""
            elif last is None and isinstance(found, str):
                yield found, ""
        if last is not None:
            yield html.writing(last, True), ""

    def watched(self, request: gr.Request, start: Callable[[Session], Job]) -> Iterator[Any]:
        """What a job has so far, at each news of it, and in the end its result.

        Until there is anything, it is the bar of the job in line, as HTML.
        """
        session = self.studio.sessions.get(request.session_hash)
        job = None
        try:
            job = start(session)
            with self.studio.calls.running(call_number(), job.stop):
                for progress in job.watch():
                    waiting = render.busy(progress, self.studio.worker.ahead(job))
                    yield waiting if progress.partial is None else progress.partial
            yield job.outcome()
        except Trouble as error:
            raise told(error) from None
        except Stopped:
            return
        finally:
            if job is not None:
                job.stop()


def _place(event: gr.EventData) -> tuple[Any, Any, Any]:
    """(pair, side, index) of the token that an event names; three times None where it does not."""
    found = re.fullmatch(r"([0-9]{1,9})\.(\w+)\.([0-9]{1,9})", str(chosen(event, "value")))
    return (int(found[1]), found[2], int(found[3])) if found else (None, None, None)
