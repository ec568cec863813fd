"""The card of the first tab in which a visitor says what to change, and by which editors."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from ..session import editor_settings
from ..session.choices import BESIDE, FIRST
from ..session.links import Opened
from ..session.studio import Studio
from ..session.views import View
from .jobs import told_plainly


class Form:
    """Example, subject, prompt, new answer, editors; own prompts and settings below."""

    def __init__(self, studio: Studio, ready: View) -> None:
        self.studio, fact = studio, ready.subject.case.fact
        editors = studio.choices.editors()
        first = next(iter(editors))
        own = studio.choices.settings(first)
        offered = [(name, key) for key, (name, _) in editors.items()]
        gr.HTML('<h2 class="name">What to change</h2>')
        self.example = gr.Dropdown(
            list(studio.choices.examples),
            value=studio.choices.ready,
            label="Example",
            info="or type your own below",
        )
        self.subject = gr.Textbox(fact.subject, label="Subject", max_lines=1)
        self.prompt = gr.Textbox(
            fact.prompt, label="Prompt", max_lines=3, info="with {} or the subject itself in it"
        )
        self.target = gr.Textbox(fact.target_new, label="New answer", max_lines=1)
        self.editors = gr.CheckboxGroup(
            [pair for pair in offered if pair[1] in FIRST],
            value=[first],
            label="Editors",
            info=f"one, or up to {BESIDE} side by side",
            elem_id="editors",
        )
        self.told = gr.HTML(_told(studio, [first]))
        with gr.Row():
            self.go = gr.Button("Edit", variant="primary", scale=3, min_width=120)
            self.stop = gr.Button("Stop", interactive=False, scale=1, min_width=70)
        self.guess = gr.Checkbox(
            False,
            label="Guess first, then see what it did",
            container=False,
            elem_id="guess-first",
        )
        self.fold = gr.Accordion("More editors, own prompts, settings", open=False)
        with self.fold:
            self.kind = gr.Dropdown(
                [("found by the prompt", ""), *((name, name) for name in studio.choices.relations)],
                value="",
                label="Kind of fact",
                info="of a fact that you have typed: gives it rewordings and neighbors",
                elem_id="kind",
            )
            self.more = gr.CheckboxGroup(
                [pair for pair in offered if pair[1] not in FIRST],
                value=[],
                label="More editors",
                elem_id="more",
            )
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
            self.options = gr.Textbox(
                "",
                label="Other settings",
                info="one name = value per line, of a single editor",
                placeholder="clamp = 4",
                lines=2,
                max_lines=8,
            )
            self.table = gr.HTML(
                editor_settings.table(studio.lm, first), elem_classes="options-box"
            )
        self.fact = [self.subject, self.prompt, self.target]
        self.chosen = [self.told, self.layer, self.steps, self.options, self.table]
        self.all = [
            *self.fact,
            self.editors,
            self.more,
            self.own,
            self.kind,
            self.layer,
            self.steps,
            self.options,
            self.guess,
        ]

    def fill(self, label: str) -> Any:
        """An example's texts."""
        with told_plainly():
            fact = self.studio.choices.example(label).fact
        return fact.subject, fact.prompt, fact.target_new, "", ""

    def reopen(self, found: Opened) -> dict:
        """The form as a link wants it."""
        page: dict = {}
        if found.fact is not None:
            page = dict(zip(self.fact, found.fact, strict=True))
            page[self.example] = found.label or gr.skip()
        if found.own:
            page[self.own] = found.own
        if found.kind:
            page[self.kind] = found.kind
        more = [name for name in found.editors if name not in FIRST]
        if found.editors:
            first = [name for name in found.editors if name in FIRST]
            page |= {self.editors: first, self.more: more}
            page |= dict(zip(self.chosen, self.choose(first, more), strict=True))
        if found.own or found.kind or more:
            page[self.fold] = gr.Accordion(open=True)
        return page

    def choose(self, first: list[str], more: list[str]) -> Any:
        """What the ticked editors do, and the settings of a single one."""
        names = [*(first or ()), *(more or ())]
        own = {"layer": None, "steps": None}
        with told_plainly():
            if len(names) == 1:
                own = self.studio.choices.settings(names[0])
        layer, steps = (
            gr.Number(value=own[k], visible=own[k] is not None) for k in ("layer", "steps")
        )
        single = names[0] if len(names) == 1 else None
        box = gr.Textbox(value="", interactive=single is not None)
        listed = editor_settings.table(self.studio.lm, single) if single else ""
        return _told(self.studio, names), layer, steps, box, listed


def _number(label: str, info: str, value: int | None) -> gr.Number:
    return gr.Number(
        value, label=label, info=info, visible=value is not None, precision=0, min_width=110
    )


def _told(studio: Studio, names: list[str]) -> str:
    lines = [studio.choices.editors()[name] for name in names if name in studio.choices.editors()]
    text = "<br>".join(f"<b>{escape(name)}</b> {escape(said)}" for name, said in lines)
    return f'<p class="about-editor">{text or "Tick an editor."}</p>'
