"""The sentence of the first tab, whose parts are edited in place, and by which editors."""

from __future__ import annotations

from typing import Any

import gradio as gr

import lib

from ..html import opening
from ..html.theme import read
from ..session import editor_settings
from ..session.choices import BESIDE, capital, continued, shown, taken
from ..session.links import Opened
from ..session.studio import Studio
from ..session.views import View

EDITORS = "() => [window.tryPage.editors()]"  # those that the browser holds


class Form:
    """Subject, prompt and new answer are one sentence; below it the editors.

    Which editors are ticked is the browser's to know (see opening.js): `editors` is hidden, and
    holds what a program sends.
    """

    def __init__(self, studio: Studio, ready: View) -> None:
        self.studio, fact = studio, ready.subject.case.fact
        known, choices = studio.choices.editors, studio.choices
        first = next(iter(known))
        with gr.Row(elem_id="sentence"):
            self.subject = _field(fact.subject, "Subject", "Subject")
            self.prompt = _field(shown(fact), "Prompt", "how it goes on")
            gr.HTML(read("old.html"), elem_id="old", min_width=20)
            self.target = _field(fact.target_new, "New answer", "new answer", "new")
            self.pick = gr.HTML(opening.picker(_examples(choices)), elem_id="pick", min_width=20)
        self.ends = gr.HTML("", elem_id="ends", js_on_load=read("ends.js"))
        self.blocked = gr.HTML("", elem_id="blocked")
        gr.HTML(opening.chips(known, choices.used("opening") or [first]), elem_id="by")
        with gr.Column(elem_id="panel", elem_classes="card"):
            self.families = gr.HTML(opening.families(known, {}, BESIDE), elem_id="families")
            with gr.Accordion("Your own questions, settings", open=False, elem_id="settings"):
                self.own = gr.Textbox(
                    "",
                    label="Ask these as well",
                    info="one question per line, up to 8; yours about another subject counts as a "
                    "neighbor",
                    lines=2,
                    max_lines=8,
                )
                self.options = gr.Textbox(
                    "",
                    label="Settings",
                    info="one name = value per line; rome.layer = 4 is of ROME alone. All stand "
                    "below",
                    placeholder="seed = 7",
                    lines=2,
                    max_lines=8,
                )
                self.table = gr.HTML(
                    editor_settings.table(studio.lm, first), elem_classes="options-box"
                )
        names = [(name, key) for key, (name, _) in known.items()]
        self.editors = gr.CheckboxGroup(names, value=[first], visible=False)
        self.example = gr.Dropdown(list(choices.examples), value=choices.ready, visible=False)
        self.anyway = gr.Checkbox(False, visible=False)
        self.go = gr.Button("Edit", elem_id="go", elem_classes="offstage")
        self.stop = gr.Button("Stop", elem_id="stop", elem_classes="offstage")
        self.fact = [self.subject, self.prompt, self.target]
        self.filled = [*self.fact, self.own, self.ends]
        self.marked = [self.families, self.blocked]
        self.all = [*self.fact, self.editors, self.own, self.options, self.anyway]

    def fill(self, label: str) -> dict:
        """An example's texts."""
        fact = self.studio.choices.example(label).fact
        texts = fact.subject, shown(fact), fact.target_new, "", ""
        return dict(zip(self.filled, texts, strict=True))

    @staticmethod
    def take(subject: str, prompt: str) -> tuple[str, str, str]:
        """The fields with the subject that the page takes from a whole sentence, to be changed.

        The sentence stands below them then, with ends of the subject that one can drag (ends.js).
        """
        found, text = taken(subject, prompt)
        if found == subject:  # there was one, or none can be told, or a program sent no text at all
            return gr.skip(), gr.skip(), gr.skip()
        return found, continued(text), read("ends.html")

    def reopen(self, found: Opened) -> dict:
        """The form as a link wants it."""
        page: dict = {self.own: found.own, self.options: found.settings}
        if found.fact is not None:
            subject, prompt, target = found.fact
            texts = subject, shown(lib.Fact(subject, prompt, target)), target
            page |= dict(zip(self.fact, texts, strict=True))
        return page

    def mark(self, editors: list[str], request: gr.Request) -> Any:
        """The families, in which an editor that cannot follow the visitor's edits says why.

        Where none of the ticked ones can, that stands under the sentence, before anybody presses
        Edit.
        """
        session, choices = self.studio.sessions.get(request.session_hash), self.studio.choices
        known, names = choices.editors, editors or []
        refused = choices.refused(session.patch, known, {})
        blocked = ""
        if names and refused.keys() >= set(names):
            blocked = opening.blocked([refused[name] for name in names])
        return opening.families(known, refused, BESIDE), blocked

    def choose(self, editors: list[str], request: gr.Request) -> tuple[str, str]:
        """What is in the way of the ticked editors, and their settings."""
        _, blocked = self.mark(editors, request)
        return blocked, "".join(editor_settings.table(self.studio.lm, one) for one in editors or ())


def _examples(choices: Any) -> list[tuple[str, str]]:
    """Each example's name, and how it is listed: "The Eiffel Tower: Paris → Rome"."""
    cases = {label: choices.example(label).fact for label in choices.examples}
    return [
        (label, f"{capital(fact.subject)}: {fact.target_true} → {fact.target_new}")
        for label, fact in cases.items()
    ]


def _field(value: str, label: str, hint: str, kind: str = "") -> gr.Textbox:
    """A part of the sentence, whose label is read out and not shown."""
    return gr.Textbox(
        value,
        label=label,
        placeholder=hint,
        show_label=False,
        container=False,
        lines=1,
        max_lines=3,
        scale=0,
        min_width=20,
        elem_classes=["field", kind],
        # a phone would begin with a capital, and what goes on behind the subject begins with none
        html_attributes=gr.InputHTMLAttributes(autocapitalize="off"),
    )
