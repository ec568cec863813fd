"""The lab: questions about edits, each with a button and a stored answer to start from.

A question is a value; `Card` builds its part of the page. The visitor's own answer replaces the
stored one as soon as its first part is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..gradio_internals import chosen
from ..html import memory, render
from ..html.theme import SCRIPT, read
from ..session import checks, links
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job, Progress, Trouble
from ..stored import stills
from ..stored.examples import Examples
from .jobs import HIDDEN, OPEN, follow, stopping


@dataclass(frozen=True)
class Action:
    """One of a question's buttons.

    name: the name of its endpoint.
    label: its text.
    job: starts the work for a visitor; also receives the values of the question's fields.
    html: turns a complete or partial result into HTML.
    slot: the index of the answer area it fills; later areas are emptied.
    """

    name: str
    label: str
    job: Callable[..., Job]
    html: Callable[[Any], str]
    slot: int = 0


@dataclass(frozen=True)
class Question:
    """A question in the lab.

    key: its name in addresses and ids.
    title: the question.
    about: what visitors can learn from it, in a sentence or two.
    actions: its buttons.
    stored: the answers from a model's stored examples, with their caption; None if there is no
        example.
    fields: builds its input fields.
    """

    key: str
    title: str
    about: str
    actions: tuple[Action, ...]
    stored: Callable[[Examples], tuple[str, list[str]] | None] = lambda examples: None
    fields: Callable[[Studio], list[Any]] = lambda studio: []


class Card:
    """A question on the page, shown after clicking its card in the list."""

    def __init__(self, studio: Studio, examples: Examples | None, question: Question) -> None:
        self.studio, self.examples, self.question = studio, examples, question
        self.held: tuple[str, list[str]] | None = None
        with gr.Column(elem_id=question.key, elem_classes="question"):
            gr.HTML(f'<h2 tabindex="-1">{question.title}</h2>{render.hint(question.about)}')
            self.fields = question.fields(studio)
            with gr.Row(elem_classes="press"):
                self.buttons = [
                    gr.Button(
                        action.label,
                        variant="primary" if action is question.actions[0] else "secondary",
                        scale=0,
                        min_width=120,
                    )
                    for action in question.actions
                ]
                self.stop = gr.Button("Stop", scale=0, min_width=90, visible=False)
            self.status = gr.HTML("", elem_classes="line")
            self.caption = gr.HTML("", elem_classes="line")
            self.answers = [
                gr.HTML("", elem_classes="answer", js_on_load=SCRIPT)
                for _ in range(1 + max(action.slot for action in question.actions))
            ]
            self.begun = gr.State(False)  # whether the page has an answer, stored or the visitor's
        self.wire()

    def wire(self) -> None:
        """Connect the events of the card."""
        outputs = [self.status, self.caption, self.stop, self.begun, *self.answers, *self.buttons]
        for action, button in zip(self.question.actions, self.buttons, strict=True):

            def ask(request: gr.Request, *given: Any, action: Action = action) -> Iterator[dict]:
                yield from self.asked(action, request, given)

            button.click(ask, self.fields, outputs, api_name=action.name, **OPEN)
        self.stop.click(stopping(self.studio), api_name=f"stop_{self.question.key}", **OPEN)

    @property
    def stored(self) -> list[Any]:
        """The page's components that the stored answer fills."""
        return [self.begun, self.caption, *self.answers]

    def opened(self, begun: bool) -> dict:
        """The stored answer, unless there is already an answer on the page."""
        return {self.begun: True} if begun else self.example()

    def example(self) -> dict:
        """The card with its stored answer, which is drawn once for all visitors."""
        if self.held is None and self.examples is not None:
            self.held = self.question.stored(self.examples)
        if self.held is None:
            said = (
                f"No answer is stored for {self.studio.lm.plain_name}. "
                f"Press “{self.question.actions[0].label}”."
            )
            return {self.caption: render.stored(said), self.begun: True}
        caption, answers = self.held
        shown = dict(zip(self.answers, answers, strict=False))
        return {self.caption: render.stored(caption), self.begun: True, **shown}

    def asked(self, action: Action, request: gr.Request, given: tuple) -> Iterator[dict]:
        """An answer as it grows."""
        last: Any = None

        def own(found: Any) -> dict:
            nonlocal last
            if found is last:  # drawing a figure takes time, and the page polls twice a second
                return {}
            last = found
            page = dict.fromkeys(self.answers[action.slot + 1 :], "")
            if action.slot == 0:
                page[self.caption] = render.stored("Yours:")
            return {**page, self.answers[action.slot]: action.html(found), self.begun: True}

        def working(progress: Progress, ahead: int) -> dict:
            busy = render.busy(progress, ahead) + render.STALE * (last is None)
            page = {self.status: busy, self.stop: gr.Button(visible=True)}
            page |= dict.fromkeys(self.buttons, gr.Button(interactive=False))
            return page | (own(progress.partial) if progress.partial is not None else {})

        def rest(session: Session, wrong: str | None, found: Any) -> dict:
            page = {self.status: wrong or "", self.stop: gr.Button(visible=False)}
            page |= dict.fromkeys(self.buttons, gr.Button(interactive=True))
            return page | (own(found) if found is not None else {})

        with suppress(Trouble):  # the message appears below the buttons
            yield from follow(
                self.studio,
                request,
                lambda session: action.job(self.studio, session, *given),
                working,
                rest,
            )


class Lab:
    """The third place: the memory picture, the cards for all questions, and the open question."""

    def __init__(
        self, studio: Studio, examples: Examples | None, questions: list[Question]
    ) -> None:
        mount = f"{memory.SCRIPT}{read('memory_in_lab.js')}"
        gr.HTML(read("memory_in_lab.html"), elem_id=links.MEMORY, js_on_load=mount)
        titles = [(one.key, one.title) for one in questions]
        shown = f"{read('lab.html')}{stills.cards(titles, examples)}"
        self.list = gr.HTML(shown, elem_id="questions", js_on_load=read("questions.js"))
        self.cards = {one.key: Card(studio, examples, one) for one in questions}
        begun = [card.begun for card in self.cards.values()]
        filled = [part for card in self.cards.values() for part in card.stored]
        # if two cards are clicked in quick succession, both get an answer
        self.list.select(self.open, begun, filled, trigger_mode="multiple", **HIDDEN)

    def open(self, event: gr.EventData, *begun: bool) -> dict:
        """The stored answer for the clicked card's question."""
        key = chosen(event, "question")
        keys = list(self.cards)
        if key not in keys:
            raise Trouble(f"Unknown question “{checks.short(key)}”.")
        return self.cards[key].opened(begun[keys.index(key)])

    def draw(self) -> None:
        """Draw the stored answers in advance, because the first drawing takes seconds."""
        for card in self.cards.values():
            card.example()
