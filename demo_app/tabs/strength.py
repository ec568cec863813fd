"""The card under the result that makes the last edit weaker or stronger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

import lib
from lib.patch.patch import routed

from ..html.render import hint
from ..session.strength import MOST, ROUTED, Strengths
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job
from .jobs import OPEN

Run = Callable[[gr.Request, Callable[[Session], Job]], Iterator[dict]]  # a job of the whole tab


class Strength:
    """A slider; hidden while there is no edit."""

    def __init__(self, studio: Studio) -> None:
        self.strengths = Strengths(studio)
        with gr.Column(elem_classes="card", elem_id="strength", visible=False) as self.box:
            self.slider = gr.Slider(
                0,
                MOST,
                1,
                step=0.05,
                label="Strength of the last edit",
                info="what it adds to the weights is multiplied by it, and everything asked again",
            )
            self.fixed = gr.HTML(hint(ROUTED), visible=False)
        self.outputs = [self.box, self.slider, self.fixed]

    def wire(self, run: Run, outputs: list[Any]) -> None:
        """The slider changes the whole tab, whose `outputs` are given."""

        def scale(strength: float, request: gr.Request) -> Iterator:
            yield from run(request, lambda session: self.strengths.set(session, strength))

        self.slider.release(scale, self.slider, outputs, api_name="strength", **OPEN)

    def shown(self, session: Session) -> dict:
        """The card as it stands: hidden without an edit, a sentence for one without strength."""
        if not session.patches:
            return {self.box: gr.Column(visible=False)}
        before = session.patches[-2] if len(session.patches) > 1 else lib.EMPTY
        fixed = routed(session.patches[-1], before)
        return {
            self.box: gr.Column(visible=True),
            self.slider: gr.Slider(value=self.strengths.present(session), visible=not fixed),
            self.fixed: gr.HTML(visible=fixed),
        }
