"""The first tab: a form, the result, the list of edits, and a free prompt; layout and wiring.

A few lines over 300: its parts have files of their own, and what joins them stands in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from ..html import guess as guess_html
from ..html import next_word, render
from ..html.table import table
from ..session import gallery, given, links
from ..session.studio import Studio
from ..session.views import Subject, View
from ..session.visitors import Session
from ..session.worker import Job, Progress
from . import gallery as gallery_tab
from .edit_form import Form
from .edit_list import EditList
from .free_prompt import Free
from .guess import Guess
from .jobs import HIDDEN, OPEN, chosen, follow, told_plainly
from .strength import Strength

SHOW_RESULT = """(...given) => {
  if (innerWidth < 720) document.querySelector("#top").scrollIntoView({behavior: "smooth"});
  return given;
}"""  # on a phone what happened stands over the form

PICK = """
const pick = (event) => {
  const row = event.target.closest("tr[data-row]");
  if (!row || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  element.querySelectorAll("tr.picked").forEach((one) => {
    one.classList.remove("picked"); one.removeAttribute("aria-current"); });
  row.classList.add("picked"); row.setAttribute("aria-current", "true");
  document.querySelector("#next").scrollIntoView({behavior: "smooth", block: "nearest"});
  trigger("select", {index: Number(row.dataset.row), value: row.dataset.row});
};
element.addEventListener("click", pick);
element.addEventListener("keydown", pick);
"""  # a row of the table, by mouse or keyboard


class Page:
    """The first tab; other tabs read the fields of its `form`."""

    def __init__(
        self,
        studio: Studio,
        ready: View,
        live: gr.HTML,
        last: gr.Button,
        everything: gr.Button,
    ) -> None:
        self.studio, self.ready = studio, ready
        self.live, self.last, self.everything = live, last, everything
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="card", elem_id="form"):
                self.form = Form(studio, ready)
            with gr.Column(scale=11, min_width=320, elem_id="right"):
                self.guess = Guess(studio, self.form.guess)
                with gr.Column(elem_classes="card", elem_id="result"):
                    self.exhibit = gr.HTML("", elem_id="exhibit")
                    self.guess.score.render()
                    self.headline = gr.HTML(render.headline(ready))
                    self.status = gr.HTML(render.status(ready), elem_id="status")
                    self.keep = gr.Radio(
                        [],
                        label="Keep",
                        visible=False,
                        elem_id="keep",
                        info="one of them becomes your edit; the panel below is about it",
                    )
                    self.table = gr.HTML(table(ready), elem_id="table", js_on_load=PICK)
                    gr.HTML('<p class="source">Choose a row to see its next word below.</p>')
                    self.next = gr.HTML(next_word.panel(studio.lm, ready), elem_id="next")
                self.strength = Strength(studio)
                self.edits = EditList(studio)
        with gr.Column(elem_classes="card", elem_id="write"):
            Free(studio)
        self.outputs = [
            self.status,
            self.headline,
            self.table,
            live,
            last,
            everything,
            self.form.go,
            self.form.stop,
            self.keep,
            self.next,
            self.exhibit,
            *self.guess.outputs,
            *self.strength.outputs,
            *self.edits.outputs,
        ]
        self.wire()

    # ---- wiring --------------------------------------------------------------------------------

    def wire(self) -> None:
        """Every event of the tab."""
        studio, form = self.studio, self.form

        def look(label: str, request: gr.Request) -> Iterator:
            def start(session: Session) -> Job:
                fact = studio.choices.example(label).fact
                return studio.look(
                    session, studio.choices.subject(fact.subject, fact.prompt, fact.target_new)
                )

            yield from self.run(request, start)

        def edit(
            subject: str,
            prompt: str,
            target: str,
            first: list[str],
            more: list[str],
            own: str,
            kind: str,
            layer: int | None,
            steps: int | None,
            options: str,
            guess: bool,
            request: gr.Request,
        ) -> Iterator:
            wanted: list[Subject] = []

            def start(session: Session) -> Job:
                wanted.append(studio.choices.subject(subject, prompt, target, own, kind))
                names = [*(first or ()), *(more or ())]
                return studio.edit(session, wanted[0], names, layer, steps, more=options)

            if guess:
                yield from self.guess.kept_back(request, start, wanted, self)
            else:
                yield from self.run(request, start)

        def undo_last(request: gr.Request) -> Iterator:
            yield from self.run(request, studio.revisions.undo)

        def undo_all(request: gr.Request) -> Iterator:
            yield from self.run(request, partial(studio.revisions.undo, everything=True))

        def keep(index: int, request: gr.Request) -> Iterator:
            yield from self.run(request, lambda session: studio.revisions.keep(session, index))

        def row(event: gr.EventData, request: gr.Request) -> Any:
            view = studio.sessions.get(request.session_hash).view or self.ready
            with told_plainly():
                index = given.whole("number of the row", chosen(event, "index"))
            return next_word.panel(studio.lm, view, index)

        def stop(request: gr.Request) -> None:
            studio.sessions.get(request.session_hash).stop()

        form.example.input(
            form.fill, form.example, [*form.fact, form.own, form.kind], api_name="fill", **OPEN
        ).success(look, form.example, self.outputs, api_name="look", **OPEN)
        edited = gr.on(
            [form.go.click, form.target.submit],
            edit,
            form.all,
            self.outputs,
            api_name="page_edit",
            js=SHOW_RESULT,
            **OPEN,
        )
        undone = self.last.click(undo_last, None, self.outputs, api_name="undo_last", **OPEN)
        self.everything.click(undo_all, None, self.outputs, api_name="undo_all", **OPEN)
        form.stop.click(stop, api_name="stop", **OPEN)
        gr.on(
            [form.editors.input, form.more.input],
            form.choose,
            [form.editors, form.more],
            form.chosen,
            api_name="editor",
            **OPEN,
        )
        kept = self.keep.input(keep, self.keep, self.outputs, api_name="keep", **OPEN)
        switched = self.edits.wire(self.run, self.outputs)
        revealed = self.guess.wire(self.outputs, self.rest, SHOW_RESULT)
        self.strength.wire(self.run, self.outputs, [edited, undone, kept, switched, revealed])
        self.table.select(row, None, self.next, **HIDDEN)

    def follows(self, loaded: gr.events.Dependency) -> None:
        """Show the edits that a file has brought, as if they had been made here."""

        def show(request: gr.Request) -> Iterator:
            yield from follow(
                self.studio,
                request,
                lambda session: self.studio.revisions.at(session, len(session.patches)),
                lambda progress, ahead: self.edits.unchanged(),
                lambda session, status, _: self.rest(session, status, session.view),
            )

        loaded.success(show, None, self.outputs, api_name="loaded", **OPEN)

    def reopened(self, demo: gr.Blocks) -> None:
        """Fill the form as the page's address says, and ask about that fact."""
        studio, form = self.studio, self.form

        def reopen(request: gr.Request) -> Iterator:
            shown = gallery.found(request.query_params)
            if shown is not None:
                page = form.reopen(gallery_tab.opened(studio, shown))
                # the verdict is what one comes for, so the settings stay folded
                fold = gr.Accordion(open=bool(shown.steps[0].options))
                yield {**page, form.fold: fold, form.options: shown.steps[0].options}
                yield from gallery_tab.made(studio, request, shown, self.run, self.exhibit)
                return
            found = links.opened(studio.choices, dict(request.query_params))
            if found is None:
                yield {form.example: gr.skip()}  # with nothing yielded all fields would be emptied
                return
            if found.ignored:
                gr.Warning(found.ignored, title="Link")
            yield form.reopen(found)
            if found.fact is not None:
                subject = studio.choices.subject(*found.fact, found.own, found.kind)
                yield from self.run(request, lambda session: studio.look(session, subject))

        fields = [form.example, *form.fact, form.editors, form.more, form.own, form.kind, form.fold]
        outputs = [*self.outputs, *fields, *form.chosen]
        demo.load(reopen, None, outputs, **HIDDEN)
        self.guess.recalled(demo)

    def run(self, request: gr.Request, start: Callable[[Session], Job]) -> Iterator[dict]:
        """A job of this tab: progress, then its view; in the end the page as it was.

        While the answers to an edit grow, headline and table show them as far as they are.
        """
        shown: Any = None

        def working(progress: Progress, ahead: int) -> dict:
            nonlocal shown
            page = self.working(progress, ahead)
            if isinstance(progress.partial, View) and progress.partial is not shown:
                shown = progress.partial
                page |= {self.headline: render.headline(shown), self.table: table(shown)}
            return page

        def rest(session: Session, status: str | None, view: View | None) -> dict:
            page = self.rest(session, status, view)
            if view is None and shown is not None:  # no such edit was made
                last = session.view or self.ready
                page |= {self.headline: render.headline(last), self.table: table(last)}
            return page

        yield from follow(self.studio, request, start, working, rest)

    def without_result(self, prompt: str) -> dict:
        """The tab without anything that says what an edit of this prompt has done."""
        return {
            self.headline: guess_html.withheld(prompt),
            self.table: "",
            self.next: "",
            self.keep: gr.Radio(visible=False),
            self.strength.box: gr.Column(visible=False),
            self.edits.box: gr.Column(visible=False),
        }

    def working(self, progress: Progress, ahead: int) -> dict:
        """The page while a job runs: the table stays, the buttons wait."""
        off = gr.Button(interactive=False)
        return {
            self.status: render.busy(progress, ahead),
            self.last: off,
            self.everything: off,
            self.form.go: off,
            self.form.stop: gr.Button(interactive=True),
        }

    def rest(self, session: Session, status: str | None, view: View | None) -> dict:
        """The page at rest, with a view's table or the one that is there."""
        if view is not None:
            session.guessing = False
            if view.note and not view.undone:
                gr.Warning(escape(view.note), title="Note")
        edits = len(session.patches)
        undo = gr.Button(interactive=edits > 0)
        page = {
            self.live: render.header(self.studio.lm.name, edits),
            self.last: undo,
            self.everything: undo,
            self.form.go: gr.Button(interactive=True),
            self.form.stop: gr.Button(interactive=False),
        }
        if not session.guessing:
            page |= {**self.strength.shown(session), **self.edits.shown(session)}
        if view is None:
            return {self.status: status, **page}
        good = [(c.name, i) for i, c in enumerate(view.columns) if c.patch is not None]
        return {
            self.status: render.status(view),
            self.headline: render.headline(view),
            self.table: table(view),
            self.next: next_word.panel(self.studio.lm, view),
            self.keep: gr.Radio(good, value=view.chosen, visible=len(good) > 1),
            **self.guess.hidden(),
            self.exhibit: "",
            **page,
        }
