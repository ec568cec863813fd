"""The card under the result that makes the last edit weaker or stronger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

import lib
from lib.patch.patch import routed

from ..html.render import hint
from ..html.strength import drawn
from ..session.edits import Curve
from ..session.strength import MOST, ROUTED, Strengths
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job
from .jobs import HIDDEN, OPEN, follow

Run = Callable[[gr.Request, Callable[[Session], Job]], Iterator[dict]]  # a job of the whole tab


class Strength:
    """A slider and the curves; hidden while there is no edit."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.strengths = studio, Strengths(studio)
        with gr.Column(elem_classes="card", elem_id="strength", visible=False) as self.box:
            gr.HTML('<h2 class="name">Strength of the last edit</h2>')
            self.slider = gr.Slider(
                0,
                MOST,
                1,
                step=0.05,
                label="Strength",
                info="what the edit adds to the weights is multiplied by it",
            )
            self.curves = gr.HTML("")
        self.outputs = [self.box, self.slider, self.curves]

    def wire(self, run: Run, outputs: list[Any], after: list[gr.events.Dependency]) -> None:
        """The slider changes the whole tab; the curves are drawn `after` each change of an edit."""

        def scale(strength: float, request: gr.Request) -> Iterator:
            yield from run(request, lambda session: self.strengths.set(session, strength))

        changed = self.slider.release(scale, self.slider, outputs, api_name="strength", **OPEN)
        for event in (*after, changed):
            event.success(self.draw, None, self.outputs, **HIDDEN)

    def draw(self, request: gr.Request) -> Iterator[dict]:
        """The curves of the last edit, measured where they are not known; none before a guess."""
        if self.studio.sessions.get(request.session_hash).guessing:
            yield {self.curves: gr.skip()}
            return
        yield from follow(
            self.studio,
            request,
            self.strengths.curve,
            lambda progress, ahead: {self.curves: gr.skip()},
            self.done,
        )

    def done(self, session: Session, status: str | None, curve: Curve | None) -> dict:
        """The card with its curves, if the last edit has any."""
        if curve is None:
            return {self.curves: status or gr.skip()}
        return {self.curves: drawn(curve, self.strengths.present(session))}

    def shown(self, session: Session) -> dict:
        """The card as it stands: hidden without an edit, a sentence for one without strength."""
        if not session.patches:
            return {self.box: gr.Column(visible=False), self.curves: ""}
        before = session.patches[-2] if len(session.patches) > 1 else lib.EMPTY
        fixed = routed(session.patches[-1], before)
        return {
            self.box: gr.Column(visible=True),
            self.slider: gr.Slider(value=self.strengths.present(session), visible=not fixed),
            self.curves: hint(ROUTED) if fixed else gr.skip(),
        }
