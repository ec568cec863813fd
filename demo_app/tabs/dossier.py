"""The tab that asks everything about one entity, before and after the visitor's edits.

It opens with a stored example, which stays until the first rows about another entity, or of the
visitor's own edits, are there.
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

import lib
from lib.data.relations import bare

from ..html import render, stored
from ..html.dossier import shown
from ..session import dossiers
from ..session.studio import Studio
from ..session.subject_in_view import subject_of
from ..session.visitors import Session
from ..session.worker import Job, Progress
from ..stored.examples import Examples
from .jobs import OPEN, follow

SEE = (
    "Every relation of the classroom is asked about one entity in three wordings. An answer is "
    "gray where the wordings disagree, or where other subjects get it just as well: then the "
    "question suggests it, and the model has not said anything about this entity. With an edit "
    "live, see how many other questions about the same subject have changed their answers with it. "
    "All of it may take a minute."
)


class DossierTab:
    """A name, a button, and the table, which grows row by row; a stored one to begin with."""

    def __init__(self, studio: Studio, examples: Examples | None = None) -> None:
        self.studio, self.examples = studio, examples
        self.first = None if examples is None else examples.dossier
        with gr.Column(elem_classes="card", elem_id="dossier"):
            gr.HTML('<h2 class="name">Everything about one subject</h2>')
            gr.HTML(render.hint(SEE))
            with gr.Row(elem_id="dossier-ask"):
                self.entity = gr.Textbox(
                    studio.choices.ready_subject().case.fact.subject,
                    label="Name of a subject",
                    show_label=False,
                    max_lines=1,
                    scale=8,
                    min_width=220,
                )
                self.go = gr.Button("Ask", variant="primary", scale=0, min_width=90)
                self.stop = gr.Button("Stop", scale=0, min_width=90, interactive=False)
            self.status = gr.HTML("", elem_id="dossier-status")
            self.caption = gr.HTML(self.whose(), elem_classes="line", elem_id="dossier-whose")
            self.result = gr.HTML("" if self.first is None else shown(self.first))
        self.outputs = [self.status, self.caption, self.result, self.go, self.stop]
        gr.on(
            [self.go.click, self.entity.submit],
            self.ask,
            self.entity,
            self.outputs,
            api_name="dossier",
            **OPEN,
        )
        self.stop.click(self.end, api_name="stop_dossier", **OPEN)

    def whose(self) -> str:
        """The caption of the stored example, or that there is none."""
        examples = self.examples
        if examples is None or examples.dossier is None:
            return stored.none_of(self.studio.lm.name, "Press Ask.")
        fact, editors = self.studio.choices.label(examples.fact), self.studio.choices.editors()
        return stored.edit_of(examples.model, fact, editors[examples.editor][0])

    def opened(self, tab: gr.Tab) -> None:
        """Bring the tab up to date whenever it is opened."""
        outputs = [self.entity, *self.outputs]
        tab.select(self.look, None, outputs, api_name="dossier_opened", **OPEN)

    def look(self, request: gr.Request) -> Iterator[dict]:
        """The subject in view: its stored example without an edit, else what is asked about it.

        Nothing is asked again while edits and subject are those of the last time.
        """
        session = self.studio.sessions.get(request.session_hash)
        name = subject_of(self.studio.choices, session).case.fact.subject or ""
        now, last = (session.patch, name), session.inquired
        if last is not None and last[0] is now[0] and last[1] == name:
            yield {self.entity: gr.skip()}  # with nothing yielded all fields would be emptied
            return
        if self.first is not None and not session.patch and bare(name) == bare(self.first.entity):
            session.inquired = now
            example = {self.caption: self.whose(), self.result: shown(self.first)}
            yield {self.entity: name, self.status: "", **example}
            return
        yield {self.entity: name}
        yield from self.ask(name, request)

    def ask(self, entity: str, request: gr.Request) -> Iterator[dict]:
        """The dossier as it grows."""
        studio = self.studio
        session = studio.sessions.get(request.session_hash)
        in_view = subject_of(studio.choices, session).case.fact.subject or ""
        session.inquired = session.patch, in_view

        def start(session: Session) -> Job:
            return dossiers.asked(studio, session, entity)

        yield from follow(studio, request, start, self.working, self.rest)

    def end(self, request: gr.Request) -> None:
        """Stop the visitor's job."""
        self.studio.sessions.get(request.session_hash).stop()

    def working(self, progress: Progress, ahead: int) -> dict:
        """The tab while it is asked: the rows so far."""
        page = {
            self.status: render.busy(progress, ahead),
            self.go: gr.Button(interactive=False),
            self.stop: gr.Button(interactive=True),
        }
        if progress.partial is not None:
            page |= self.own(progress.partial)
        return page

    def own(self, found: lib.Dossier) -> dict:
        """The table of what was asked for the visitor, in place of the stored example."""
        return {self.caption: stored.own(f"{found.entity}."), self.result: shown(found)}

    def rest(self, session: Session, status: str | None, found: lib.Dossier | None) -> dict:
        """The tab at rest, with the whole dossier or what went wrong."""
        page = {self.go: gr.Button(interactive=True), self.stop: gr.Button(interactive=False)}
        if found is None:
            session.inquired = None  # what was stopped is asked again
            return {self.status: status, **page}
        return {self.status: "", **self.own(found), **page}
