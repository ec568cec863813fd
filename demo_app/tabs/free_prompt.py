"""The card in which the model continues a free prompt, before and after the edits."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from ..html import free_text as html
from ..html import render
from ..session.free_text import LONGEST, WRITE, Writer
from ..session.studio import Studio
from ..session.texts import Writing
from ..session.visitors import Session
from ..session.worker import Job, Progress
from .jobs import OPEN, follow


class Free:
    """A prompt, and the texts in two columns."""

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
        self.texts = gr.HTML(html.unwritten(), elem_id="written")
        gr.on(
            [self.write.click, self.text.submit],
            self.written,
            [self.text, self.chat, self.tokens, self.heat, self.several],
            self.texts,
            api_name="write",
            **OPEN,
        )

    def written(
        self,
        prompt: str,
        chat: bool,
        tokens: int,
        heat: float,
        several: bool,
        request: gr.Request,
    ) -> Iterator[str]:
        """The free prompt continued, as it grows; first the bar of the job in line."""

        def start(session: Session) -> Job:
            return self.writer.write(session, prompt, chat, tokens, heat, several)

        def working(progress: Progress, ahead: int) -> str:
            if progress.partial is None:
                return render.busy(progress, ahead)
            return html.writing(progress.partial, False)

        def rest(session: Session, wrong: str | None, said: Writing | None) -> str:
            return (wrong or "") if said is None else html.writing(said, True)

        yield from follow(self.studio, request, start, working, rest)
