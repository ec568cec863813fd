"""The line of the first tab that says what to change, and below it, folded, by which editors."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from ..html.theme import read
from ..session import editor_settings
from ..session.choices import BESIDE, continued, taken
from ..session.links import Opened
from ..session.studio import Studio
from ..session.subject_in_view import subject_of
from ..session.views import View

Known = dict[str, tuple[str, str]]  # {editor: (how it is written, a sentence about it)}


class Form:
    """Subject, prompt and new answer read as a sentence; everything else is folded below them."""

    def __init__(self, studio: Studio, ready: View) -> None:
        self.studio, fact = studio, ready.subject.case.fact
        editors = studio.choices.editors
        first = next(iter(editors))
        begin = [editors[name][0] for name in studio.choices.used("opening")]
        with gr.Row(elem_id="sentence"):
            self.subject = _field(fact.subject, "Subject", "Subject", 4)
            self.prompt = _field(
                continued(fact.prompt),
                "Prompt",
                "How it goes on; or a whole sentence, up to the answer",
                6,
            )
            gr.HTML('<span aria-hidden="true">→</span>', elem_id="arrow", min_width=20)
            self.target = _field(fact.target_new, "New answer", "What it should say", 3)
            with gr.Row(elem_id="do"):
                # beside Edit, which is always in reach
                gr.HTML(read("again.html"), elem_classes="phone", js_on_load=read("jump.js"))
                self.go = gr.Button("Edit", variant="primary", scale=2, min_width=90)
                self.stop = gr.Button("Stop", interactive=False, scale=1, min_width=70)
        self.ends = gr.HTML("", elem_id="ends", js_on_load=read("ends.js"))
        self.wait = gr.HTML("", elem_id="wait")
        self.blocked = gr.HTML("", elem_id="blocked")
        with gr.Accordion(_with(editors, [first]), open=False, elem_id="settings") as self.fold:
            self.example = gr.Dropdown(
                list(studio.choices.examples),
                value=studio.choices.ready,
                label="Example",
                info="puts a ready fact into the line above",
            )
            self.editors = gr.CheckboxGroup(
                _listed(editors),
                value=[first],
                label="Editors",
                info=f"one, or up to {BESIDE} side by side; to begin with {', '.join(begin)}",
                elem_id="editors",
            )
            self.told = gr.HTML(_told(editors, [first]))
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
                info="one name = value per line; rome.layer = 4 is of ROME alone. All stand below",
                placeholder="seed = 7",
                lines=2,
                max_lines=8,
            )
            self.table = gr.HTML(
                editor_settings.table(studio.lm, first), elem_classes="options-box"
            )
        self.fact = [self.subject, self.prompt, self.target]
        self.filled = [*self.fact, self.own, self.ends, self.fold]
        self.marked = [self.example, self.editors, self.told, self.fold, self.blocked]
        self.chosen = [self.told, self.fold, self.blocked, self.table]
        self.all = [*self.fact, self.editors, self.own, self.options]

    def fill(self, label: str) -> Any:
        """An example's texts, and the settings closed, so that its answers are seen."""
        fact, closed = self.studio.choices.example(label).fact, gr.Accordion(open=False)
        return fact.subject, continued(fact.prompt), fact.target_new, "", "", closed

    @staticmethod
    def take(subject: str, prompt: str) -> tuple[str, str, str]:
        """The fields with the subject that the page takes from a whole sentence, to be changed.

        The sentence stands below them then, with ends of the subject that one can drag (ends.js).
        """
        found, text = taken(subject, prompt)
        if found == subject:  # there was one, or none can be told, or a program sent no text at all
            return gr.skip(), gr.skip(), gr.skip()
        return found, continued(text), read("ends.html")

    def reopen(self, found: Opened, request: gr.Request) -> dict:
        """The form as a link wants it; a field of its own where the link has nothing of use."""
        page: dict = {self.own: found.own, self.options: found.settings}
        if found.fact is not None:
            subject, prompt, target = found.fact
            texts = subject, continued(prompt), target
            page |= dict(zip(self.fact, texts, strict=True))
            page[self.example] = found.label or None
        if found.editors:
            page[self.editors] = list(found.editors)
            chosen = self.choose(list(found.editors), request)
            page |= dict(zip(self.chosen, chosen, strict=True))
        return page

    def mark(self, editors: list[str], request: gr.Request) -> Any:
        """The example in view, the editors, what the ticked ones do, the fold, what is in the way.

        An editor that cannot follow the visitor's edits is marked, and says why instead. Where none
        of the ticked ones can, that stands under the line, before anybody presses Edit.
        """
        session, choices = self.studio.sessions.get(request.session_hash), self.studio.choices
        known, names = dict(choices.editors), editors or []
        refused = choices.refused(session.patch, known, {})
        for name, why in refused.items():
            known[name] = f"{known[name][0]} (cannot follow)", f"{why}."
        told = _told(known, names)
        blocked = told if names and refused.keys() >= set(names) else ""
        if len(names) > BESIDE:
            blocked = f'<p class="about-editor">Up to {BESIDE} editors fit side by side.</p>'
        fold, listed = gr.Accordion(label=_with(known, names)), gr.CheckboxGroup(_listed(known))
        example = choices.example_of(subject_of(choices, session).case.fact) or None
        return example, listed, told, fold, blocked

    def choose(self, editors: list[str], request: gr.Request) -> Any:
        """What the ticked editors do, the name of the fold, and their settings."""
        _, _, *marked = self.mark(editors, request)
        return *marked, "".join(editor_settings.table(self.studio.lm, one) for one in editors or ())


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
        # a phone would begin with a capital, and what goes on behind the subject begins with none
        html_attributes=gr.InputHTMLAttributes(autocapitalize="off"),
    )


def _listed(editors: Known) -> list[tuple[str, str]]:
    """The choices of the list."""
    return [(name, key) for key, (name, _) in editors.items()]


def _with(editors: Known, names: list[str]) -> str:
    """The name of the fold: "Examples · ROME · settings"."""
    known = [editors[name][0] for name in names if name in editors]
    return f"Examples · {', '.join(known) or 'no editor'} · settings"


def _told(editors: Known, names: list[str]) -> str:
    lines = [editors[name] for name in names if name in editors]
    text = "<br>".join(f"<b>{escape(name)}</b> {escape(said)}" for name, said in lines)
    return f'<p class="about-editor">{text or "Tick an editor."}</p>'
