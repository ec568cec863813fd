"""The tab that asks everything about one entity, before and after the visitor's edits."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

import lib

from ..html import render
from ..html.dossier import shown
from ..session import dossiers
from ..session.studio import Studio
from ..session.subject_in_view import subject_of
from ..session.visitors import Session
from ..session.worker import Job, Progress
from .jobs import OPEN, follow

SEE = (
    "Every relation of the classroom is asked about one entity in three wordings. An answer is "
    "gray where the wordings disagree, or where other subjects get it just as well: then the "
    "question suggests it, and the model has not said anything about this entity. With an edit "
    "live, see how many other questions about the same subject have changed their answers with it. "
    "Folded below stand its key, its neighbors and the features it opens, each beside what that is "
    "for other entities."
)


class DossierTab:
    """A name, a button, and the table, which grows row by row."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
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
            self.result = gr.HTML("")
        outputs = [self.status, self.result, self.go, self.stop]
        gr.on(
            [self.go.click, self.entity.submit],
            self.ask,
            self.entity,
            outputs,
            api_name="dossier",
            **OPEN,
        )
        self.stop.click(self.end, api_name="stop_dossier", **OPEN)

    def opened(self, tab: gr.Tab) -> None:
        """Put the subject in view into the field, and ask about it, when the tab is opened."""

        def look(request: gr.Request) -> str:
            session = self.studio.sessions.get(request.session_hash)
            return subject_of(self.studio.choices, session).case.fact.subject or ""

        tab.select(look, None, self.entity, api_name="dossier_subject", **OPEN).success(
            self.ask,
            self.entity,
            [self.status, self.result, self.go, self.stop],
            api_name="dossier_opened",
            **OPEN,
        )

    def ask(self, entity: str, request: gr.Request) -> Iterator[dict]:
        """The dossier as it grows."""

        def start(session: Session) -> Job:
            return dossiers.asked(self.studio, session, entity)

        yield from follow(self.studio, request, start, self.working, self.rest)

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
            page[self.result] = shown(progress.partial)
        return page

    def rest(self, session: Session, status: str | None, found: lib.Dossier | None) -> dict:
        """The tab at rest, with the whole dossier or what went wrong."""
        page = {self.go: gr.Button(interactive=True), self.stop: gr.Button(interactive=False)}
        if found is None:
            return {self.status: status, **page}
        return {self.status: "", self.result: shown(found), **page}
