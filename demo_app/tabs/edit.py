"""The first place: a line to say what to change, and what then changed beside what stayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

import lib

from ..gradio_internals import chosen
from ..html import edits as listed
from ..html import render
from ..html.comparison import answers, comparison, headline, scoreboard, status
from ..html.theme import SCRIPT, read
from ..session import consequences, gallery, given, links
from ..session.choices import taken
from ..session.studio import Studio
from ..session.views import Subject, View
from ..session.visitors import Session
from ..session.worker import WAITING, Job, Progress
from ..stored.examples import Examples, key
from . import gallery as surprises
from .edit_form import Form
from .jobs import HIDDEN, OPEN, follow, stopping

# what they show and hide stands in try.css; they keep what they are through an edit
LOOKS = read("looks.html")
WRITTEN = 40  # tokens that the model writes on where a visitor asks for it


class Page:
    """The first place.

    live, last: the number of edits and the button that undoes the last one, in the page's head.
    examples: what is stored of the page's examples; None for a model without any.
    """

    def __init__(
        self,
        studio: Studio,
        ready: View,
        live: gr.HTML,
        last: gr.Button,
        examples: Examples | None,
    ) -> None:
        self.studio, self.ready, self.live, self.last = studio, ready, live, last
        self.examples = examples
        with gr.Column(elem_id="try"):
            with gr.Column(elem_classes="card", elem_id="form"):
                self.form = Form(studio, ready)
            with gr.Column(elem_id="result"):
                self.exhibit = gr.HTML("", elem_id="exhibit")
                self.headline = gr.HTML(headline(ready))
                self.status = gr.HTML(status(ready), elem_id="status", js_on_load=SCRIPT)
                self.table = gr.HTML(comparison(ready), elem_id="table", js_on_load=SCRIPT)
                with gr.Column(elem_classes="card", elem_id="write"):
                    self.free_prompt()
                told = scoreboard(ready, links.link(studio.choices, ready))
                self.score = gr.HTML(told, elem_id="score", js_on_load=SCRIPT)
                gr.HTML(LOOKS)
                self.answers = gr.HTML(answers(ready), elem_id="answers", js_on_load=SCRIPT)
            with gr.Accordion("", open=False, visible=False, elem_id="list") as self.box:
                self.edits = gr.HTML("", js_on_load=SCRIPT)
                self.everything = gr.Button("Undo all", size="sm", scale=0, min_width=100)
            surprises.some(studio)
        self.outputs = [
            self.status,
            self.headline,
            self.table,
            self.score,
            live,
            last,
            self.form.go,
            self.form.stop,
            self.exhibit,
            self.written,
            self.box,
            self.edits,
            self.answers,
        ]
        self.wire()

    # ---- what one may press ------------------------------------------------------------------

    def wire(self) -> None:
        """Every event of the comparison, the form, and the list of edits."""
        studio, form = self.studio, self.form

        def look(label: str, request: gr.Request) -> Iterator:
            yield from self.look(request, studio.choices.ready_subject(label))

        def edit(
            subject: str,
            prompt: str,
            target: str,
            editors: list[str],
            own: str,
            options: str,
            request: gr.Request,
        ) -> Iterator:
            def start(session: Session) -> Job:
                wanted = studio.choices.subject(*taken(subject, prompt), target, own)
                return studio.edit(session, wanted, editors, more=options)

            yield from self.run(request, start)

        def undoing(place: int | None) -> Callable[[gr.Request], Iterator]:
            def undo(request: gr.Request) -> Iterator:
                yield from self.run(request, partial(studio.revisions.undo, place=place))

            return undo

        def keep_or_take_out(event: gr.EventData, request: gr.Request) -> Iterator:
            def start(session: Session) -> Job:
                index = chosen(event, "keep")
                if index is not None:
                    return studio.revisions.keep(session, index)
                place = given.whole("number of the edit to take out", chosen(event, "out"))
                return studio.revisions.undo(session, place)

            yield from self.run(request, start)

        looked = form.example.input(
            form.fill, form.example, form.filled, api_name="fill", **OPEN
        ).success(look, form.example, self.outputs, api_name="look", **OPEN)
        edited = gr.on(
            [form.go.click, form.target.submit],
            edit,
            form.all,
            self.outputs,
            api_name="page_edit",
            js=read("show_result.js"),
            **OPEN,
        )
        sentence = [form.subject, form.prompt]
        form.prompt.blur(form.take, sentence, [*sentence, form.ends], **HIDDEN)
        form.stop.click(stopping(studio, aside=False), api_name="stop", **OPEN)
        # who ticks two boxes at once is answered for the second one as well
        form.editors.input(
            form.choose,
            form.editors,
            form.chosen,
            api_name="editor",
            trigger_mode="always_last",
            **OPEN,
        ).success(self.prepare, form.editors, [form.wait, form.go], **HIDDEN)
        last = self.last.click(undoing(-1), None, self.outputs, api_name="undo_last", **OPEN)
        every = self.everything.click(
            undoing(None), None, self.outputs, api_name="undo_all", **OPEN
        )
        pressed = [self.score.select, self.status.select, self.edits.select]
        other = gr.on(pressed, keep_or_take_out, None, self.outputs, **HIDDEN)
        for event in (looked, edited, last, every, other):
            self.settled(event)

    def settled(self, event: Any) -> None:
        """Behind an event: a text, which goes on where an edit is live; and who can follow it."""
        texts = [self.text, self.given]
        event.then(self.lead, texts, texts, **HIDDEN).then(
            self.go_on, texts, self.written, **HIDDEN
        )
        event.then(self.form.mark, self.form.editors, self.form.marked, **HIDDEN)

    def layers(self, answer: gr.HTML) -> None:
        """The lab's comparison of layers: the one that is pressed becomes the last edit."""

        def take(event: gr.EventData, request: gr.Request) -> Iterator:
            keep = partial(self.studio.revisions.keep, index=chosen(event, "keep"), layers=True)
            yield from self.run(request, keep)

        self.settled(answer.select(take, None, self.outputs, js=read("to_try.js"), **HIDDEN))

    def reopened(self, demo: gr.Blocks) -> None:
        """Fill the form as the page's address says, and make that edit, or ask about that fact."""
        studio, form = self.studio, self.form

        def reopen(request: gr.Request) -> Iterator:
            shown = gallery.found(request.query_params)
            if shown is not None:
                yield form.reopen(surprises.opened(studio, shown), request)
                yield from surprises.made(studio, request, shown, self.run, self.exhibit)
                return
            found = links.opened(studio.choices, dict(request.query_params))
            if found.ignored:
                gr.Warning(found.ignored, title="Link")
            yield form.reopen(found, request)
            if found.fact is not None:
                subject = studio.choices.subject(*found.fact, found.own)
                yield from self.look(request, subject, found.editors, found.settings)

        fields = [form.example, *form.fact, form.editors, form.own]
        demo.load(self.prepare, form.editors, [form.wait, form.go], **HIDDEN)
        self.settled(
            demo.load(reopen, None, [*self.outputs, *fields, form.options, *form.chosen], **HIDDEN)
        )

    def prepare(self, editors: list[str], request: gr.Request) -> Iterator[dict]:
        """What the editors read of the model is made, with a bar; meanwhile Edit is off."""
        wait, go = self.form.wait, self.form.go
        start = partial(self.studio.prepare, editors=editors)

        def working(progress: Progress, ahead: int) -> dict:
            if progress.words == WAITING:
                return {wait: ""}
            return {wait: render.busy(progress, ahead), go: gr.Button(interactive=False)}

        def rest(session: Session, wrong: str | None, found: Any) -> dict:
            return {wait: wrong or "", go: gr.Button(interactive=True)}

        yield from follow(self.studio, request, start, working, rest)

    # ---- what then stands on the page --------------------------------------------------------

    def look(
        self, request: gr.Request, subject: Subject, editors: Sequence[str] = (), more: str = ""
    ) -> Iterator[dict]:
        """What is stored of a fact, and is nobody's edit; else it is written by these, or asked."""
        session = self.studio.sessions.get(request.session_hash)
        own = more or session.edits or any(job.progress.partial for job in session.before)
        stored = None if own or self.examples is None else self.examples.view(subject)
        if stored is not None and (found := stored.by(editors)) is not None:
            session.view = found
            yield self.rest(session, None, found)
        elif editors:
            write = partial(self.studio.edit, subject=subject, editor=editors, more=more)
            yield from self.run(request, write)
        else:
            yield from self.run(request, partial(self.studio.look, subject=subject))

    def shown(self, session: Session, view: View | None = None) -> View:
        """A view, or else what the visitor sees, with the stored editors of its example beside."""
        view = view or session.view or self.ready
        stored = self.examples.view(view.subject) if self.examples else None
        return view if stored is None else view.beside(stored)

    def run(self, request: gr.Request, start: Callable[[Session], Job]) -> Iterator[dict]:
        """A job of this place: progress, then its view; in the end the page as it was."""
        session = self.studio.sessions.get(request.session_hash)
        working = partial(self.working, session, self.shown(session).subject.case.fact)
        yield from follow(self.studio, request, start, working, self.rest)

    def working(self, session: Session, shown: lib.Fact, progress: Progress, ahead: int) -> dict:
        """The page while a job runs: answers about the fact that is shown stay and say that they
        are old, and those about any other go at once.

        What is known of the new one stands there as soon as it is: first its prompts, then what the
        model said so far, then the edit itself, then each of several editors.
        """
        off, new = gr.Button(interactive=False), progress.partial
        old = new is None or not (new.columns or new.subject.case.fact != shown)
        page = {} if old else self.result(self.shown(session, new))
        return page | {
            self.status: render.busy(progress, ahead) + render.STALE * old,
            self.last: off,
            self.form.go: off,
            self.form.stop: gr.Button(interactive=True),
        }

    def rest(self, session: Session, wrong: str | None, view: View | None) -> dict:
        """The page at rest, with a view's comparison or the one that is there."""
        edits, shown = session.edits, self.shown(session, view)
        page: dict[Any, Any] = {
            self.live: render.header(self.studio.lm.plain_name, len(edits)),
            self.last: gr.Button(interactive=bool(edits)),
            self.form.go: gr.Button(interactive=True),
            self.form.stop: gr.Button(interactive=False),
            self.box: gr.Accordion(  # a single edit that stands above is taken out by Undo
                f"Your edits ({len(edits)})",
                visible=len(edits) > shown.kept or bool(session.warning),
                open=True,
            ),
            self.edits: listed.listed(edits, session.warning),
            **self.result(shown),
        }
        if view is None:  # what was there before stands again
            text = page[self.written] if shown.stored else gr.skip()
            return {**page, self.status: f"{wrong}{status(shown)}", self.written: text}
        return {self.status: status(view), self.exhibit: "", **page}

    def result(self, view: View) -> dict:
        """What an edit, or several side by side, made the model say."""
        return {
            self.headline: headline(view),
            self.table: comparison(view),
            self.written: self.told(view),
            self.score: scoreboard(view, links.link(self.studio.choices, view)),
            self.answers: answers(view),
        }

    # ---- a free prompt -----------------------------------------------------------------------

    def free_prompt(self) -> None:
        """A prompt of one's own, continued before and after the edits."""
        given = consequences.opening(self.ready.subject.case.fact)
        self.given = gr.State(given)
        with gr.Row(elem_id="ask"):
            gr.HTML('<h2 class="name">Write on</h2>', min_width=80)
            self.text = gr.Textbox(
                given,
                show_label=False,
                label="Free prompt",
                container=False,
                max_lines=3,
                scale=8,
                min_width=260,
            )
            chat = gr.Checkbox(
                label="ask as chat",
                container=False,
                scale=0,
                min_width=120,
                elem_classes="chat",
                visible=self.studio.asker.chats,  # without a template a model cannot be asked so
            )
            go = gr.Button("Go", size="sm", scale=0, min_width=70)
        self.written = gr.HTML(self.told(self.ready), elem_id="written")

        def write(prompt: str, as_chat: bool, request: gr.Request) -> Iterator[str]:
            yield from self.write(prompt, as_chat, WRITTEN, request, prompt)

        asked = [go.click, self.text.submit]
        gr.on(asked, write, [self.text, chat], self.written, api_name="write", **OPEN)

    def write(
        self, prompt: str, as_chat: bool, tokens: int, request: gr.Request, lead: str | None = None
    ) -> Iterator[str]:
        """How a prompt goes on before and after what is shown; `lead` as in render.continued."""
        yield from follow(
            self.studio,
            request,
            lambda session: self.studio.answer(
                session, prompt, as_chat, tokens, session.view or self.ready
            ),
            render.busy,
            lambda session, wrong, said: wrong if said is None else render.continued(said, lead),
        )

    def go_on(self, text: str, given: str, request: gr.Request) -> Iterator[Any]:
        """Behind an edit: how the page's own text goes on with it."""
        if self.studio.sessions.get(request.session_hash).edits and text == given:
            yield from self.write(text, False, consequences.TOKENS, request)
        else:
            yield gr.skip()

    def told(self, view: View) -> str:
        """Under the free prompt when another view comes: what is stored of it, or what to do."""
        said = self.examples and (self.examples.written or {}).get(key(view.subject.case.fact))
        if said and view.stored and not view.chosen:
            return render.continued(said)
        return render.hint("<b>Go</b> lets the model write on, before and after your edits.")

    def lead(self, text: str, given: str, request: gr.Request) -> tuple[str, str]:
        """The free prompt about the subject in view, unless the visitor wrote one; and the last
        one that the page gave.
        """
        view = self.studio.sessions.get(request.session_hash).view or self.ready
        new = consequences.opening(view.subject.case.fact)
        return (new, new) if text == given else (gr.skip(), gr.skip())
