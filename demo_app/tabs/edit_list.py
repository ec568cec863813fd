"""The card of a visitor's edits: a switch at each, a slider back in time, and what has held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ..html import edit_history
from ..session import edit_list
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job
from .jobs import HIDDEN, OPEN, follow

Run = Callable[[gr.Request, Callable[[Session], Job]], Iterator[dict]]  # a job of the whole tab


class EditList:
    """Hidden while there is no edit; `outputs` are its parts that change."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Column(elem_classes="card", elem_id="list", visible=False) as self.box:
            gr.HTML('<h2 class="name">Your edits</h2>')
            self.switches = gr.CheckboxGroup(
                [],
                label="Applied, in this order",
                info="leave one out, or put it back",
                elem_id="switches",
            )
            self.slider = gr.Slider(
                0,
                1,
                1,
                step=1,
                label="Look back",
                info="number of edits made so far",
                visible=False,
                elem_id="back",
            )
            self.history = gr.HTML("")
        self.outputs = [self.box, self.switches, self.slider, self.history]

    def wire(self, run: Run, outputs: list[Any]) -> None:
        """A switch changes the whole tab, whose `outputs` are given; the slider only this card."""
        revisions = self.studio.revisions

        def switch(wanted: list[int], request: gr.Request) -> Iterator:
            yield from run(request, lambda session: revisions.switch(session, wanted))

        def back(count: int, request: gr.Request) -> Iterator:
            yield from follow(
                self.studio,
                request,
                lambda session: revisions.at(session, count),
                lambda progress, ahead: gr.skip(),
                lambda session, status, _: status or _history(session, int(count)),
            )

        self.switches.input(switch, self.switches, outputs, api_name="switch", **OPEN)
        self.slider.input(
            back, self.slider, self.history, api_name="back", trigger_mode="always_last", **OPEN
        )

    def opened(self, tab: gr.Tab) -> None:
        """Show the list anew on coming back to the tab: a patch may have been loaded elsewhere."""

        def refresh(request: gr.Request) -> Iterator:
            session = self.studio.sessions.get(request.session_hash)
            if not session.patches and not session.edits:
                yield self.unchanged()
            else:
                count = len(session.patches)
                yield from follow(
                    self.studio,
                    request,
                    lambda session: self.studio.revisions.at(session, count),
                    lambda progress, ahead: self.unchanged(),
                    lambda session, status, _: self.shown(session),
                )

        tab.select(refresh, None, self.outputs, **HIDDEN)

    def unchanged(self) -> dict:
        """The card as it is."""
        return {self.history: gr.skip()}

    def shown(self, session: Session) -> dict:
        """The card with a visitor's edits, as they are now."""
        edits, on = session.edits, len(session.patches)
        return {
            self.box: gr.Column(visible=bool(edits)),
            self.switches: gr.CheckboxGroup(
                edit_history.choices(edits), value=[one.number for one in edits if one.on]
            ),
            self.slider: gr.Slider(maximum=max(on, 1), value=on, visible=on > 0),
            self.history: _history(session, on) if edits else "",
        }


def _history(session: Session, count: int) -> str:
    """The list of edits as it stood after the first `count` applied ones."""
    return edit_history.history(edit_list.look_back(session, count))
