"""The card in which the model continues a free prompt, before and after the edits."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from ..html import render
from ..session.studio import LONGEST, WRITE, Studio
from ..session.views import Written
from ..session.worker import Stopped, Trouble
from .jobs import OPEN, call_number, told


class Free:
    """A prompt, and two panels."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
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
                False, label="ask as chat", container=False, scale=1, min_width=120
            )
            self.write = gr.Button("Go", scale=0, min_width=90)
        with gr.Accordion("Decoding", open=False), gr.Row():
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
        with gr.Row(equal_height=True):
            first, second = render.unwritten()
            with gr.Column(min_width=280):
                self.before = gr.HTML(first)
            with gr.Column(min_width=280):
                self.after = gr.HTML(second)
        gr.on(
            [self.write.click, self.text.submit],
            self.written,
            [self.text, self.chat, self.tokens, self.heat],
            [self.before, self.after],
            api_name="write",
            **OPEN,
        )

    def written(
        self, prompt: str, chat: bool, tokens: int, heat: float, request: gr.Request
    ) -> Iterator[tuple]:
        """The free prompt continued, as it grows."""
        session = self.studio.sessions.get(request.session_hash)
        job = None
        try:
            job = self.studio.write(session, prompt, chat, tokens, heat)
            with self.studio.calls.running(call_number(), job.stop):
                for progress in job.watch():
                    said = progress.partial or Written(live=len(session.patches))
                    yield render.written(prompt, said, False, chat)
            yield render.written(prompt, job.outcome(), True, chat)
        except Trouble as error:
            raise told(error) from None
        except Stopped:
            return
        finally:
            if job is not None:
                job.stop()
