"""The first tab: a line to say what to change, and what then changed beside what stayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape

import gradio as gr

from ..html import render
from ..html.comparison import comparison, headline, status
from ..session import gallery, given, links
from ..session.studio import Studio
from ..session.views import View
from ..session.visitors import Session
from ..session.worker import Job, Progress
from . import gallery as gallery_tab
from .edit_form import Form, whole
from .edit_list import EditList
from .free_prompt import Free
from .jobs import HIDDEN, OPEN, chosen, follow, told_plainly
from .strength import Strength

SHOW_RESULT = """(...given) => {
  if (innerWidth < 720) document.querySelector("#top").scrollIntoView({behavior: "smooth"});
  return given;
}"""  # on a phone what happened stands over the form
STALE = '<p class="stale">Until then the answers below are those from before.</p>'
LOOKS = (
    '<div class="looks"><label><input type="checkbox" id="numbers"> Numbers</label>'
    '<label><input type="checkbox" id="guess-first"> Guess first</label></div>'
)  # what they show and hide stands in style.css
LIVE = """
const one = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const show = (column) => {
  all(".asked").forEach((part) => { part.hidden = part.dataset.column !== column; });
  all("[data-show]").forEach((button) =>
    button.setAttribute("aria-pressed", String(button.dataset.show === column)));
};
const point = (dot) => {
  const [column, group, place] = dot.dataset.dot.split(".");
  show(column);
  const row = all(`.asked[data-column="${column}"] tr.${group}`)[Number(place)];
  all("tr.picked").forEach((other) => other.classList.remove("picked"));
  row.classList.add("picked");
  row.scrollIntoView({behavior: "smooth", block: "nearest"});
};
const guess = (button) => {
  const row = button.closest("tr"), part = button.closest(".asked");
  row.classList.add("seen", button.dataset.guess === row.dataset.good ? "hit" : "miss");
  const seen = [...part.querySelectorAll("tr.seen")];
  const best = seen.filter((other) => other.dataset.good === "1").length;
  const left = part.querySelectorAll(".guess").length - seen.length;
  one(".guesses").textContent = `You saw ${part.querySelectorAll("tr.hit").length} of ` +
    `${seen.length} coming of what ${part.dataset.editor || "the edits"} did. Whoever expects ` +
    `that all is as it should be would have seen ${best}.` + (left ? ` ${left} to go.` : "");
};
element.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  if (at("[data-guess]")) guess(at("[data-guess]"));
  else if (at("[data-dot]")) point(at("[data-dot]"));
  else if (at("[data-keep]")) trigger("select", {index: Number(at("[data-keep]").dataset.keep)});
  else if (at("[data-show]")) show(at("[data-show]").dataset.show);
});
"""  # what one presses in the comparison; only another editor to keep is the server's concern


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
        with gr.Column(elem_id="try"):
            with gr.Column(elem_classes="card", elem_id="form"):
                self.form = Form(studio, ready)
            with gr.Column(elem_id="result"):
                self.exhibit = gr.HTML("", elem_id="exhibit")
                self.headline = gr.HTML(headline(ready))
                self.status = gr.HTML(status(ready), elem_id="status")
                self.table = gr.HTML(comparison(ready), elem_id="table", js_on_load=LIVE)
                gr.HTML(LOOKS)
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
            self.exhibit,
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
            editors: list[str],
            own: str,
            kind: str,
            layer: int | None,
            steps: int | None,
            options: str,
            request: gr.Request,
        ) -> Iterator:
            def start(session: Session) -> Job:
                wanted = studio.choices.subject(*whole(subject, prompt, target), own, kind)
                return studio.edit(session, wanted, editors, layer, steps, more=options)

            yield from self.run(request, start)

        def undo_last(request: gr.Request) -> Iterator:
            yield from self.run(request, studio.revisions.undo)

        def undo_all(request: gr.Request) -> Iterator:
            yield from self.run(request, partial(studio.revisions.undo, everything=True))

        def keep(event: gr.EventData, request: gr.Request) -> Iterator:
            with told_plainly():
                index = given.whole("number of the editor to keep", chosen(event, "index"))
            yield from self.run(request, lambda session: studio.revisions.keep(session, index))

        def stop(request: gr.Request) -> None:
            studio.sessions.get(request.session_hash).stop()

        form.example.input(
            form.fill, form.example, [*form.fact, form.own, form.kind], api_name="fill", **OPEN
        ).success(look, form.example, self.outputs, api_name="look", **OPEN)
        gr.on(
            [form.go.click, form.target.submit],
            edit,
            form.all,
            self.outputs,
            api_name="page_edit",
            js=SHOW_RESULT,
            **OPEN,
        )
        self.last.click(undo_last, None, self.outputs, api_name="undo_last", **OPEN)
        self.everything.click(undo_all, None, self.outputs, api_name="undo_all", **OPEN)
        form.stop.click(stop, api_name="stop", **OPEN)
        # who ticks two boxes at once is answered for the second one as well
        form.editors.input(
            form.choose,
            form.editors,
            form.chosen,
            api_name="editor",
            trigger_mode="always_last",
            **OPEN,
        )
        self.table.select(keep, None, self.outputs, **HIDDEN)
        self.edits.wire(self.run, self.outputs)
        self.strength.wire(self.run, self.outputs)

    def follows(self, loaded: gr.events.Dependency) -> None:
        """Show the edits that a file has brought, as if they had been made here."""

        def show(request: gr.Request) -> Iterator:
            yield from follow(
                self.studio,
                request,
                lambda session: self.studio.revisions.at(session, len(session.patches)),
                lambda progress, ahead: self.edits.unchanged(),
                lambda session, wrong, _: self.rest(session, wrong, session.view),
            )

        loaded.success(show, None, self.outputs, api_name="loaded", **OPEN)

    def reopened(self, demo: gr.Blocks) -> None:
        """Fill the form as the page's address says, and ask about that fact."""
        studio, form = self.studio, self.form

        def reopen(request: gr.Request) -> Iterator:
            shown = gallery.found(request.query_params)
            if shown is not None:
                page = form.reopen(gallery_tab.opened(studio, shown))
                yield {**page, form.options: shown.steps[0].options}
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

        fields = [form.example, *form.fact, form.editors, form.own, form.kind]
        demo.load(reopen, None, [*self.outputs, *fields, *form.chosen], **HIDDEN)

    def run(self, request: gr.Request, start: Callable[[Session], Job]) -> Iterator[dict]:
        """A job of this tab: progress, then its view; in the end the page as it was."""
        yield from follow(self.studio, request, start, self.working, self.rest)

    def working(self, progress: Progress, ahead: int) -> dict:
        """The page while a job runs: what is shown stays and says that it is old."""
        off = gr.Button(interactive=False)
        return {
            self.status: render.busy(progress, ahead) + STALE,
            self.last: off,
            self.everything: off,
            self.form.go: off,
            self.form.stop: gr.Button(interactive=True),
        }

    def rest(self, session: Session, wrong: str | None, view: View | None) -> dict:
        """The page at rest, with a view's comparison or the one that is there."""
        if view is not None and view.note and not view.undone:
            gr.Warning(escape(view.note), title="Note")
        edits = len(session.patches)
        undo = gr.Button(interactive=edits > 0)
        page = {
            self.live: render.header(self.studio.lm.plain_name, edits),
            self.last: undo,
            self.everything: undo,
            self.form.go: gr.Button(interactive=True),
            self.form.stop: gr.Button(interactive=False),
            **self.strength.shown(session),
            **self.edits.shown(session),
        }
        if view is None:
            return {self.status: wrong, **page}
        return {
            self.status: status(view),
            self.headline: headline(view),
            self.table: comparison(view),
            self.exhibit: "",
            **page,
        }
