"""The first place: guess, edit and read a fact in the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from ..gradio_internals import chosen
from ..html import edits as listed
from ..html import opening, render
from ..html.comparison import answers
from ..html.theme import SCRIPT, read
from ..session import checks, consequences, gallery, links, questions
from ..session.choices import recognized
from ..session.studio import Studio
from ..session.views import Subject, View
from ..session.visitors import Session
from ..session.worker import Job, Progress
from ..stored.examples import Examples
from . import gallery as surprises
from .edit_form import EDITORS, Form
from .jobs import HIDDEN, OPEN, follow, stopping

WRITTEN = 40  # tokens to generate when a visitor asks the model to write on


class Page:
    """The first place.

    live: the number of edits, in the page's header.
    examples: the page's stored examples; None for a model without any.
    """

    def __init__(
        self, studio: Studio, ready: View, live: gr.HTML, examples: Examples | None
    ) -> None:
        self.studio, self.ready, self.live = studio, ready, live
        self.examples = examples
        with gr.Column(elem_id="try"):
            with gr.Column(elem_classes="card", elem_id="form"):
                self.form = Form(studio, ready)
            self.exhibit = gr.HTML("", elem_id="exhibit")
            self.rows = gr.HTML(self.shown_rows(ready), elem_id="rows")
            self.press = gr.HTML(read("press.html"), elem_id="press", js_on_load=read("opening.js"))
            with gr.Row(elem_id="bottom"):
                with gr.Column(elem_classes="card", elem_id="write", min_width=280):
                    self.free_prompt()
                self.board = gr.HTML(opening.board(ready), elem_id="board", min_width=280)
            self.answers = gr.HTML(self.all_answers(ready), elem_id="answers")
            with gr.Accordion("", open=False, visible=False, elem_id="list") as self.box:
                self.edits = gr.HTML("", js_on_load=SCRIPT)
                self.everything = gr.Button("Undo all", size="sm", scale=0, min_width=100)
            self.last = gr.Button("Undo", elem_id="undo-last", elem_classes="offstage")
        self.outputs = [
            self.rows,
            live,
            self.exhibit,
            self.written,
            self.board,
            self.box,
            self.edits,
            self.answers,
        ]
        self.wire()

    # ---- events ----------------------------------------------------------------------------------

    def wire(self) -> None:
        """Connect the events of the comparison, the form, and the list of edits."""
        studio, form = self.studio, self.form

        def look(label: str, request: gr.Request) -> Iterator:
            subject = studio.choices.ready_subject(label)
            yield form.fill(label)
            yield from self.look(request, subject)

        def edit(
            subject: str,
            prompt: str,
            target: str,
            editors: list[str],
            own: str,
            options: str,
            anyway: bool,
            request: gr.Request,
        ) -> Iterator:
            def start(session: Session) -> Job:
                wanted = studio.choices.subject(*recognized(subject, prompt), target, own)
                anyhow = checks.flag("The “edit anyway” option", anyway)
                return studio.edit(session, wanted, editors, more=options, anyway=anyhow)

            yield from self.run(request, start, editors)

        def undoing(place: int | None) -> Callable[[gr.Request], Iterator]:
            def undo(request: gr.Request) -> Iterator:
                yield from self.run(request, partial(studio.revisions.undo, place=place))

            return undo

        def keep_or_remove(event: gr.EventData, request: gr.Request) -> Iterator:
            def start(session: Session) -> Job:
                index = chosen(event, "keep")
                if index is not None:
                    return studio.revisions.keep(session, index)
                place = checks.whole("number of the edit to remove", chosen(event, "out"))
                return studio.revisions.undo(session, place)

            yield from self.run(request, start)

        looked = self.press.example_select(
            look,
            form.example,
            [*self.outputs, *form.filled],
            api_name="look",
            js="() => [window.tryPage.picked()]",
            **OPEN,
        )
        edited = form.go.click(
            edit,
            form.all,
            self.outputs,
            api_name="page_edit",
            js="(...given) => window.tryPage.asked(given)",
            **OPEN,
        )
        sentence = [form.subject, form.prompt]
        form.prompt.blur(form.take, sentence, [*sentence, form.ends], **HIDDEN)
        form.stop.click(stopping(studio, aside=False), api_name="stop", **OPEN)
        self.press.apply(self.see, None, None, **HIDDEN)
        # when two boxes are ticked in quick succession, the second gets an answer as well
        self.press.edit(
            form.choose,
            form.editors,
            [form.blocked, form.table],
            api_name="editor",
            trigger_mode="always_last",
            js=EDITORS,
            **OPEN,
        )
        last = self.last.click(undoing(-1), None, self.outputs, api_name="undo_last", **OPEN)
        every = self.everything.click(
            undoing(None), None, self.outputs, api_name="undo_all", **OPEN
        )
        other = gr.on(
            [self.press.select, self.edits.select],
            keep_or_remove,
            None,
            self.outputs,
            **HIDDEN,
        )
        for event in (looked, edited, last, every, other):
            self.settled(event)

    def settled(self, event: Any) -> None:
        """After an event: update the text, continue it if an edit is live, and mark the usable
        editors.
        """
        texts = [self.text, self.given]
        event.then(self.lead, texts, texts, **HIDDEN).then(
            self.continue_text, texts, self.written, **HIDDEN
        )
        event.then(self.form.mark, self.form.editors, self.form.marked, js=EDITORS, **HIDDEN)

    def see(self, event: gr.EventData, request: gr.Request) -> None:
        """Record that the visitor pressed Edit on a stored edit: further questions are about this
        edit.
        """
        session = self.studio.sessions.get(request.session_hash)
        view, editor = self.shown(session), chosen(event, "see")
        if view.stored and (found := view.by([editor])) is not None:
            session.view = found

    def layers(self, answer: gr.HTML) -> None:
        """Connect the lab's comparison of layers, making the chosen layer the last edit."""

        def take(event: gr.EventData, request: gr.Request) -> Iterator:
            keep = partial(self.studio.revisions.keep, index=chosen(event, "keep"), layers=True)
            yield from self.run(request, keep)

        self.settled(answer.select(take, None, self.outputs, js=read("to_try.js"), **HIDDEN))

    def reopened(self, demo: gr.Blocks) -> None:
        """Fill the form from the page's address, and make that edit or test that fact."""
        studio, form = self.studio, self.form

        def reopen(request: gr.Request) -> Iterator:
            shown = gallery.found(request.query_params)
            if shown is not None:
                yield form.reopen(surprises.opened(studio, shown))
                yield from surprises.made(studio, request, shown, self.run, self.exhibit)
                return
            found = links.opened(studio.choices, dict(request.query_params))
            if found.ignored:
                gr.Warning(found.ignored, title="Link")
            yield form.reopen(found)
            if found.fact is not None:
                subject = studio.choices.subject(*found.fact, found.own)
                yield from self.look(request, subject, found.editors, found.settings)

        fields = [*form.fact, form.own, form.options]
        self.settled(demo.load(reopen, None, [*self.outputs, *fields], **HIDDEN))

    # ---- results ---------------------------------------------------------------------------------

    def look(
        self, request: gr.Request, subject: Subject, editors: Sequence[str] = (), more: str = ""
    ) -> Iterator[dict]:
        """Show a fact's stored view, which doesn't belong to any visitor. Without one, use these
        editors or, without editors, only test the prompts.
        """
        session = self.studio.sessions.get(request.session_hash)
        own = more or session.edits or any(job.progress.partial for job in session.before)
        stored = None if own or self.examples is None else self.examples.view(subject)
        if stored is not None and (found := stored.by(editors)) is not None:
            session.view = found
            yield self.rest(session, None, found)
        elif editors:
            write = partial(self.studio.edit, subject=subject, editor=editors, more=more)
            yield from self.run(request, write, editors)
        else:
            yield from self.run(request, partial(self.studio.look, subject=subject))

    def shown(self, session: Session) -> View:
        """The visitor's current view."""
        return session.view or self.ready

    def run(
        self,
        request: gr.Request,
        start: Callable[[Session], Job],
        editors: Sequence[str] | str = (),
    ) -> Iterator[dict]:
        """Run a job in this place: show its progress, then its view, leaving the page unchanged if
        it fails.

        editors: the editors used in it.
        """
        session = self.studio.sessions.get(request.session_hash)
        names = [editors] if isinstance(editors, str) else list(editors or ())
        working = partial(self.working, session, names)
        yield from follow(self.studio, request, start, working, self.rest)

    def working(
        self, session: Session, names: Sequence[str], progress: Progress, ahead: int
    ) -> dict:
        """The page while a job runs.

        Results for a new fact appear as soon as they are known: first its prompts, then the model's
        earlier answers, then the edit itself, then each of several editors.
        """
        known, new = self.studio.choices.editors, progress.partial
        if new is None:  # keep the rows, with a message about the change in progress
            said = render.busy(progress, ahead)
            return {self.rows: self.shown_rows(self.shown(session), message=said, busy=True)}
        usual = self.studio.first_edits.usual
        work = opening.Work(
            progress,
            ahead,
            ahead * self.studio.worker.usual,
            " and ".join(known[name][0] for name in names if name in known),
            sum(usual.get(name, 0.0) for name in names) if set(names) <= usual.keys() else 0.0,
        )
        return {self.rows: opening.rows(new, work)}

    def rest(self, session: Session, wrong: str | None, view: View | None) -> dict:
        """The page at rest, showing a new view or keeping the current one."""
        edits, shown = session.edits, view or self.shown(session)
        undone = shown.undone and view is not None
        message = wrong or (render.finding(f"↺ {shown.undone}") if undone else "")
        return {
            self.live: render.header(self.studio.lm.plain_name, len(edits)),
            self.box: gr.Accordion(  # to remove a single edit that is shown above, use Undo
                f"Your edits ({len(edits)})",
                visible=len(edits) > shown.kept or bool(session.warning),
                open=True,
            ),
            self.edits: listed.listed(edits, session.warning),
            self.rows: self.shown_rows(shown, message),
            self.board: opening.board(shown),
            self.written: self.under_prompt(shown),
            self.answers: self.all_answers(shown),
            **({} if view is None else {self.exhibit: ""}),
        }

    def shown_rows(self, view: View, message: str = "", busy: bool = False) -> str:
        """A view's rows, with the link that opens the page with this view."""
        link = links.link(self.studio.choices, view)
        return opening.rows(view, message=message, link=link, busy=busy)

    @staticmethod
    def all_answers(view: View) -> str:
        """Every answer with its numbers, folded."""
        return render.folded("All answers, numbers", answers(view), "closer")

    # ---- a free prompt -----------------------------------------------------------------------

    def free_prompt(self) -> None:
        """The visitor's own prompt, continued before and after the edits."""
        given = self.text_for(self.ready)
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
                label="as a chat",
                container=False,
                scale=0,
                min_width=120,
                elem_classes="chat",
                visible=self.studio.asker.chats,  # a model without a chat template cannot chat
            )
            go = gr.Button("Go", size="sm", scale=0, min_width=70)
        self.written = gr.HTML(self.under_prompt(self.ready), elem_id="written")

        def write(prompt: str, as_chat: bool, request: gr.Request) -> Iterator[str]:
            yield from self.write(prompt, as_chat, WRITTEN, request, prompt)

        asked = [go.click, self.text.submit]
        gr.on(asked, write, [self.text, chat], self.written, api_name="write", **OPEN)

    def write(
        self, prompt: str, as_chat: bool, tokens: int, request: gr.Request, lead: str | None = None
    ) -> Iterator[str]:
        """Continue a prompt before and after the edits in view; `lead` as in render.continued."""
        yield from follow(
            self.studio,
            request,
            lambda session: self.studio.answer(
                session, prompt, as_chat, tokens, session.view or self.ready
            ),
            render.busy,
            lambda session, wrong, said: wrong if said is None else render.continued(said, lead),
        )

    def continue_text(self, text: str, given: str, request: gr.Request) -> Iterator[Any]:
        """After an edit: continue the page's own text under it."""
        if self.studio.sessions.get(request.session_hash).edits and text == given:
            yield from self.write(text, False, consequences.TOKENS, request)
        else:
            yield gr.skip()

    def under_prompt(self, view: View) -> str:
        """The contents below the free prompt for a new view: the stored continuations, or
        instructions.
        """
        found = self.examples.finished(view.subject) if self.examples and view.stored else None
        hint = render.hint(
            "Press <b>Go</b> to have the model write on, before and after your edits."
        )
        if found is None or not found.written:
            return hint

        def pair(before: str, after: str) -> str:
            return render.continued({"before": before, "after": after, "live": 0, "example": "it"})

        return opening.stored_texts(found.columns, found.written, pair)

    def text_for(self, view: View) -> str:
        """A text that leads up to a fact."""
        case = view.subject.case
        found = self.examples.finished(view.subject) if self.examples else None
        stored = found.text if found else None
        return stored or questions.text_to_continue(case) or consequences.opening(case.fact)

    def lead(self, text: str, given: str, request: gr.Request) -> tuple[str, str]:
        """The free prompt about the current subject, unless the visitor wrote one, and the page's
        own last prompt.
        """
        new = self.text_for(self.shown(self.studio.sessions.get(request.session_hash)))
        return (new, new) if text == given else (gr.skip(), gr.skip())
