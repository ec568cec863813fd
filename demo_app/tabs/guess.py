"""The card in which a visitor says what an edit will do, before the edit is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gradio as gr

from ..html import guess as html
from ..session import guesses
from ..session.studio import Studio
from ..session.views import Subject, View
from ..session.visitors import Session
from ..session.worker import Job, Progress
from .jobs import HIDDEN, OPEN, follow, told_plainly

KEY = "modeledit-guess-first"  # under which the browser remembers the switch
REMEMBER = f"(on) => {{ try {{ localStorage.setItem('{KEY}', on ? '1' : '') }} catch (e) {{}} }}"
RECALL = f"""() => {{
  try {{ return localStorage.getItem('{KEY}') === '1' }} catch (e) {{ return false }}
}}"""  # a browser that keeps nothing throws


class Tab(Protocol):
    """What the card needs of the tab in which it stands (tabs/edit.py)."""

    ready: View
    status: gr.HTML

    def working(self, progress: Progress, ahead: int) -> dict: ...

    def rest(self, session: Session, status: str | None, view: View | None) -> dict: ...

    def without_result(self, prompt: str) -> dict: ...


class Guess:
    """The card over the result, and the line with the score, which is put into the result.

    switch: the checkbox of the form that turns it on. `outputs` are the parts that change.
    """

    def __init__(self, studio: Studio, switch: gr.Checkbox) -> None:
        self.studio, self.switch = studio, switch
        with gr.Column(elem_classes="card", elem_id="guess", visible=False) as self.box:
            gr.HTML('<h2 class="name">What will this edit do?</h2>')
            self.line = gr.HTML(html.waiting(False))
            self.held = gr.CheckboxGroup(
                [], label="Which rewordings will give the new answer?", elem_id="guess-held"
            )
            self.changed = gr.CheckboxGroup(
                [], label="Which neighbors will change their answer?", elem_id="guess-changed"
            )
            self.go = gr.Button("Reveal", variant="primary", interactive=False)
        self.score = gr.HTML("", elem_id="score", render=False)
        self.outputs = [self.box, self.line, self.held, self.changed, self.go, self.score]

    def wire(
        self, outputs: list[Any], shown: Callable[[Session, None, View], dict], js: str
    ) -> gr.events.Dependency:
        """Reveal puts the whole tab, whose `outputs` are given, as `shown` says; returns its event.

        js: what the browser does at the press.
        """

        def reveal(changed: list[int], held: list[int], request: gr.Request) -> dict:
            session = self.studio.sessions.get(request.session_hash)
            with told_plainly():
                view, score = guesses.reveal(session, changed, held)
            return {
                **shown(session, None, view),
                self.score: html.scored(view, score, session.score),
            }

        self.switch.input(None, self.switch, None, js=REMEMBER, **HIDDEN)
        return self.go.click(
            reveal, [self.changed, self.held], outputs, api_name="reveal", js=js, **OPEN
        )

    def kept_back(
        self, request: gr.Request, start: Callable[[Session], Job], wanted: list[Subject], page: Tab
    ) -> Iterator[dict]:
        """An edit of which the tab, `page`, shows nothing until the visitor has guessed.

        wanted: holds the subject of the form once `start` was called. Which prompts test a typed
        fact is known only when the edit is there.
        """
        begun = False

        def working(progress: Progress, ahead: int) -> dict:
            nonlocal begun
            now = page.working(progress, ahead)
            if not begun:  # once: what is ticked meanwhile stays
                begun = True
                now |= page.without_result(wanted[0].case.fact.text)
                now |= {} if wanted[0].typed else self.asked(wanted[0])
            return now

        def rest(session: Session, status: str | None, view: View | None) -> dict:
            if view is None:
                last = page.rest(session, None, session.view or page.ready)
                return {**last, page.status: status}
            if not guesses.asked(view.subject):
                return page.rest(session, None, view)
            session.guessing = session.view is view
            now = {**page.rest(session, "", None), **self.written()}
            return {**now, **self.asked(view.subject, True)} if wanted[0].typed else now

        yield from follow(self.studio, request, start, working, rest)

    def recalled(self, demo: gr.Blocks) -> None:
        """Put the switch as the browser remembers it."""
        demo.load(None, None, self.switch, js=RECALL, **HIDDEN)

    def asked(self, subject: Subject, written: bool = False) -> dict:
        """The card with the prompts of a subject, nothing ticked.

        written: whether the edit is there, so that it can be revealed.
        """
        prompts = guesses.asked(subject)
        return {
            self.box: gr.Column(visible=True),
            self.line: html.waiting(written),
            self.held: gr.CheckboxGroup(
                [(prompt, i) for i, prompt in enumerate(prompts.rewordings)],
                value=[],
                visible=bool(prompts.rewordings),
            ),
            self.changed: gr.CheckboxGroup(
                html.neighbors(prompts.neighbors), value=[], visible=bool(prompts.neighbors)
            ),
            self.go: gr.Button(interactive=written),
            self.score: "",
        }

    def written(self) -> dict:
        """The card when the edit is there: what is ticked stays, and it can be revealed."""
        return {self.line: html.waiting(True), self.go: gr.Button(interactive=True)}

    def hidden(self) -> dict:
        """No card, and no score of an earlier edit."""
        return {self.box: gr.Column(visible=False), self.score: ""}
