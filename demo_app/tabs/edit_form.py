"""The line of the first tab that says what to change, and below it, folded, by which editors."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from ..session import editor_settings
from ..session.choices import BESIDE, completed, continued
from ..session.links import Opened
from ..session.studio import Studio
from ..session.views import View
from .jobs import told_plainly

SUBJECT = "What the sentence is about: The Eiffel Tower"
PROMPT = "How it goes on, up to the answer; or the whole sentence, with {} for the subject"
AGAIN = '<a class="phone" href="#form">Another fact ↓</a>'  # beside Edit, which is always in reach
JUMP = """element.addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("form").scrollIntoView();
});"""  # the page has a base: the bare link would load it anew, without its address


class Form:
    """Subject, prompt and new answer read as a sentence; everything else is folded below them."""

    def __init__(self, studio: Studio, ready: View) -> None:
        self.studio, fact = studio, ready.subject.case.fact
        editors = studio.choices.editors()
        first = next(iter(editors))
        with gr.Row(elem_id="sentence"):
            self.subject = _field(fact.subject, "Subject", SUBJECT, 4)
            self.prompt = _field(continued(fact.prompt), "Prompt", PROMPT, 6)
            gr.HTML('<span aria-hidden="true">→</span>', elem_id="arrow", min_width=20)
            self.target = _field(fact.target_new, "New answer", "What it should say", 3)
            with gr.Row(elem_id="do"):
                gr.HTML(AGAIN, elem_classes="phone", js_on_load=JUMP)
                self.go = gr.Button("Edit", variant="primary", scale=2, min_width=90)
                self.stop = gr.Button("Stop", interactive=False, scale=1, min_width=70)
        self.wait = gr.HTML("", elem_id="wait")
        self.fold = gr.Accordion(_with(studio, [first]), open=False, elem_id="settings")
        with self.fold:
            self.example = gr.Dropdown(
                list(studio.choices.examples),
                value=studio.choices.ready,
                label="Example",
                info="puts a fact of the classroom into the line above",
            )
            self.editors = gr.CheckboxGroup(
                [(name, key) for key, (name, _) in editors.items()],
                value=[first],
                label="Editors",
                info=f"one, or up to {BESIDE} side by side",
                elem_id="editors",
            )
            self.told = gr.HTML(_told(studio, [first]))
            self.own = gr.Textbox(
                "",
                label="Ask these as well",
                info="one prompt per line, up to 8",
                lines=2,
                max_lines=8,
            )
            self.options = gr.Textbox(
                "",
                label="Settings",
                info="one name = value per line, of a single editor; all of them stand below",
                placeholder="layer = 4",
                lines=2,
                max_lines=8,
            )
            self.table = gr.HTML(
                editor_settings.table(studio.lm, first), elem_classes="options-box"
            )
        self.fact = [self.subject, self.prompt, self.target]
        self.chosen = [self.told, self.options, self.table, self.fold]
        self.all = [*self.fact, self.editors, self.own, self.options]

    def fill(self, label: str) -> Any:
        """An example's texts."""
        with told_plainly():
            fact = self.studio.choices.example(label).fact
        return fact.subject, continued(fact.prompt), fact.target_new, ""

    def reopen(self, found: Opened) -> dict:
        """The form as a link wants it; a field of its own where the link has nothing of use."""
        page: dict = {self.example: gr.skip()}  # where nothing is given all fields are emptied
        if found.fact is not None:
            subject, prompt, target = found.fact
            texts = subject, continued(prompt), target
            page |= dict(zip(self.fact, texts, strict=True))
            page[self.example] = found.label or gr.skip()
        if found.own:
            page[self.own] = found.own
        if found.editors:
            page[self.editors] = list(found.editors)
            page |= dict(zip(self.chosen, self.choose(list(found.editors)), strict=True))
        return page

    def choose(self, editors: list[str]) -> Any:
        """What the ticked editors do, the settings of a single one, and the name of the fold."""
        names = editors or []
        with told_plainly():
            for name in names:
                self.studio.choices.kind(name)
        single = names[0] if len(names) == 1 else None
        box = gr.Textbox(value="", interactive=single is not None)
        table = editor_settings.table(self.studio.lm, single) if single else ""
        fold = gr.Accordion(label=_with(self.studio, names))
        return _told(self.studio, names), box, table, fold


def whole(subject: str, prompt: str, target: str) -> tuple[str, str, str]:
    """The three fields of the line as the check of the form wants them."""
    return subject, completed(subject, prompt), target


def _field(value: str, label: str, hint: str, scale: int) -> gr.Textbox:
    """A field of the line, whose label is read out and not shown."""
    return gr.Textbox(
        value,
        label=label,
        placeholder=hint,
        show_label=False,
        container=False,
        max_lines=1,
        scale=scale,
        min_width=120,
    )


def _with(studio: Studio, names: list[str]) -> str:
    """The name of the fold: "With ROME · examples, settings"."""
    known = [
        studio.choices.editors()[name][0] for name in names if name in studio.choices.editors()
    ]
    return f"With {', '.join(known) or 'no editor'} · examples, settings"


def _told(studio: Studio, names: list[str]) -> str:
    lines = [studio.choices.editors()[name] for name in names if name in studio.choices.editors()]
    text = "<br>".join(f"<b>{escape(name)}</b> {escape(said)}" for name, said in lines)
    return f'<p class="about-editor">{text or "Tick an editor."}</p>'
