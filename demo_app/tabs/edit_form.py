"""The first tab's sentence, with parts that are edited in place, and its editors."""

from __future__ import annotations

from typing import Any

import gradio as gr

import lib

from ..html import opening
from ..html.theme import read
from ..session import editor_settings
from ..session.choices import BESIDE, capital, continued, recognized, shown
from ..session.links import Opened
from ..session.studio import Studio
from ..session.views import View

EDITORS = "() => [window.tryPage.editors()]"  # the ticked editors, which only the browser knows


class Form:
    """Subject, prompt and new answer form one sentence, with the editors below it.

    The browser keeps track of the ticked editors (see opening.js). The hidden `editors` is for
    programs that send their own.
    """

    def __init__(self, studio: Studio, ready: View) -> None:
        self.studio, fact = studio, ready.subject.case.fact
        known, choices = studio.choices.editors, studio.choices
        first = next(iter(known))
        with gr.Row(elem_id="sentence"):
            self.subject = _field(fact.subject, "Subject", "Subject")
            self.prompt = _field(shown(fact), "Prompt", "rest of the sentence")
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
                    label="Also ask these",
                    info="one question per line, up to 8; the same question about another subject "
                    "counts as a neighbor",
                    lines=2,
                    max_lines=8,
                )
                self.options = gr.Textbox(
                    "",
                    label="Settings",
                    info="One name = value per line. rome.layer = 4 applies only to ROME. All "
                    "settings are listed below.",
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
        """Fill in an example's texts."""
        fact = self.studio.choices.example(label).fact
        texts = fact.subject, shown(fact), fact.target_new, "", ""
        return dict(zip(self.filled, texts, strict=True))

    @staticmethod
    def take(subject: str, prompt: str) -> tuple[str, str, str]:
        """The fields, with the subject that the page recognized in a whole sentence, for
        correction.

        The sentence then appears below them, with handles for dragging the ends of the subject
        (ends.js).
        """
        found, text = recognized(subject, prompt)
        # already given, not recognizable, or a program sent something other than text
        if found == subject:
            return gr.skip(), gr.skip(), gr.skip()
        return found, continued(text), read("ends.html")

    def reopen(self, found: Opened) -> dict:
        """Fill the form from a link."""
        page: dict = {self.own: found.own, self.options: found.settings}
        if found.fact is not None:
            subject, prompt, target = found.fact
            texts = subject, shown(lib.Fact(subject, prompt, target)), target
            page |= dict(zip(self.fact, texts, strict=True))
        return page

    def mark(self, editors: list[str], request: gr.Request) -> Any:
        """The families, with a reason for each editor that cannot write on top of the visitor's
        edits.

        If this is true of every ticked editor, the reasons also appear below the sentence before
        the visitor presses Edit.
        """
        session, choices = self.studio.sessions.get(request.session_hash), self.studio.choices
        known, names = choices.editors, editors or []
        refused = choices.refused(session.patch, known, {})
        blocked = ""
        if names and refused.keys() >= set(names):
            blocked = opening.blocked([refused[name] for name in names])
        return opening.families(known, refused, BESIDE), blocked

    def choose(self, editors: list[str], request: gr.Request) -> tuple[str, str]:
        """The reasons blocking the ticked editors, and the editors' settings."""
        _, blocked = self.mark(editors, request)
        return blocked, "".join(editor_settings.table(self.studio.lm, one) for one in editors or ())


def _examples(choices: Any) -> list[tuple[str, str]]:
    """Each example's name, and its entry in the list: "The Eiffel Tower: Paris → Rome"."""
    cases = {label: choices.example(label).fact for label in choices.examples}
    return [
        (label, f"{capital(fact.subject)}: {fact.target_true} → {fact.target_new}")
        for label, fact in cases.items()
    ]


def _field(value: str, label: str, hint: str, kind: str = "") -> gr.Textbox:
    """One part of the sentence, with a label for screen readers only."""
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
        # phones would capitalize the first letter, but the text after the subject begins in
        # lowercase
        html_attributes=gr.InputHTMLAttributes(autocapitalize="off"),
    )
