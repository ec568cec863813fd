"""The tab that looks inside the edit: one card per figure.

It opens with stored examples. As soon as an edit is live, the figures that cost little are computed
for it whenever the tab is opened; the others keep their example until a visitor asks for more. A
few lines over 300: the cards share one way of being filled, which is read with them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from ..html import render, stored
from ..html.picture import picture
from ..inside import key_overlap, layers_of_a_fact, panel, ranks_and_changes
from ..session.long_run import LongRun
from ..session.studio import Studio
from ..session.subject_in_view import subject_of
from ..session.visitors import Session
from ..session.worker import Progress, Trouble
from ..stored.examples import Examples
from .long_runs import OPEN, START, Running

STORED = f"No edit is live, so these are stored examples. {panel.WHERE}"
AT_ONCE = "With an edit of your own live, this card shows it when you open the tab."


@dataclass(frozen=True)
class Card:
    """A figure of the tab.

    place: the name of the card in the page's ids and endpoints.
    title: its heading.
    see: a sentence or two that say what to look at.
    make: computes the panel.
    cost: how long that takes, in words; "" where it takes so little that nobody is asked.
    """

    place: str
    title: str
    see: str
    make: START
    cost: str = ""


CARDS = (
    Card(
        "ranks",
        "Where the answer turns",
        "Each layer is asked what it would answer if it were the last. See where the two solid "
        "lines cross: there the edit takes over. Dashed: before it.",
        ranks_and_changes.ranks,
    ),
    Card(
        "trace",
        "Where the model recalls it",
        "Noise makes the model forget; one state at a time is put back. See which tokens and "
        "layers bring the answer back, and whether the edited layer is among them.",
        layers_of_a_fact.traced,
        "about half a minute",
    ),
    Card(
        "overlaps",
        "Whom it lands on",
        "A row says which share of an edit lands on the other facts' keys. See whether anything "
        "off the diagonal is strongly colored: those facts are next to change.",
        key_overlap.overlaps,
    ),
    Card(
        "scope",
        "Which prompts the memory answers",
        "One point per prompt, for edits that decide at the prompt. See whether full points "
        "(answered) are all of the edit's color, and hollow ones all of the others.",
        key_overlap.scope,
    ),
    Card(
        "norms",
        "How large the update is",
        "See in which layers the weights moved, and how far against their own size: an update of "
        "several per cent is one that other facts will feel.",
        ranks_and_changes.norms,
    ),
    Card(
        "wilke",
        "Which layer fits the fact",
        "How large a change ROME would need in each layer. See where the curve is lowest: WilKE "
        "writes there.",
        layers_of_a_fact.wise_layers,
        "a minute or two",
    ),
)


@dataclass
class Parts:
    """The components of a card that change."""

    caption: gr.HTML
    status: gr.HTML
    figure: gr.HTML
    words: gr.HTML
    show: gr.Button | None = None
    stop: gr.Button | None = None

    def shown(self, caption: str, found: panel.Panel) -> dict:
        """The card with a panel."""
        return {
            self.caption: caption,
            self.status: render.finding(found.found),
            self.figure: drawn(found),
            self.words: render.in_words(found.lines) if found.lines else "",
        }


class Inside:
    """A line that says whose insides these are, and the cards."""

    def __init__(self, studio: Studio, examples: Examples | None = None) -> None:
        self.studio, self.running, self.examples = studio, Running(studio), examples
        self.parts: dict[str, Parts] = {}
        self.pictures: dict[str, str] = {}  # of the stored examples, by card
        with gr.Column(elem_classes="card"):
            gr.HTML('<h2 class="name">Inside the edit</h2>')
            self.about = gr.HTML(self.line(studio.visitor()), elem_id="inside-about")
        self.drawn = gr.State(False)  # whether this page has the pictures of the stored examples
        with gr.Row(equal_height=False):  # two columns: a tall card leaves no hole beside it
            for half in CARDS[:3], CARDS[3:]:
                with gr.Column(min_width=320):
                    for card in half:
                        self.card(card)
        self.wire()

    def line(self, session: Session) -> str:
        """The line over the cards."""
        if self.examples is not None and not session.patch:
            return render.hint(escape(STORED))
        return render.hint(escape(panel.about(self.studio, session)))

    def card(self, card: Card) -> None:
        """A card as it opens: the stored example, whose picture comes when the tab is opened."""
        found = self.stored_panel(card)
        with gr.Column(elem_classes="card", min_width=320, elem_id=f"inside-{card.place}"):
            gr.HTML(f'<h2 class="name">{card.title}</h2>')
            gr.HTML(render.hint(card.see))
            show = stop = None
            if card.cost:
                with gr.Row():
                    name = f"Compute it for my fact ({card.cost})"
                    show = gr.Button(name, size="sm", min_width=320, scale=0)
                    stop = gr.Button("Stop", size="sm", min_width=110, scale=0, visible=False)
            caption = gr.HTML(self.stored_line(card), elem_classes="line")
            status = gr.HTML(render.finding(found.found) if found else "", elem_classes="line")
            figure = gr.HTML("", elem_classes="figure")
            words = gr.HTML(render.in_words(found.lines) if found and found.lines else "")
        self.parts[card.place] = Parts(caption, status, figure, words, show, stop)

    # ---- what stands in a card -----------------------------------------------------------------

    def stored_panel(self, card: Card) -> panel.Panel | None:
        """The stored example of a card."""
        return None if self.examples is None else self.examples.panel(card.place)

    def stored_line(self, card: Card, why: str = "") -> str:
        """The caption of a stored example, or that there is none."""
        found = self.examples
        if found is None or found.panel(card.place) is None:
            ask = "Press the button above." if card.cost else why or AT_ONCE
            return stored.none_of(self.studio.lm.name, ask)
        fact = self.studio.choices.label(found.fact)
        name = self.studio.choices.editors()[found.editor_of(card.place)][0]
        return stored.edit_of(found.model, fact, name, why)

    def stored_card(self, card: Card, why: str = "") -> dict:
        """A card with its stored example; why: what keeps it from showing the visitor's own."""
        parts, found = self.parts[card.place], self.stored_panel(card)
        line = self.stored_line(card, why)
        if found is None:
            return {parts.caption: line, parts.status: "", parts.figure: "", parts.words: ""}
        return {
            parts.caption: line,
            parts.status: render.finding(found.found),
            parts.figure: self.picture(card.place),
            parts.words: render.in_words(found.lines) if found.lines else "",
        }

    def own_card(self, card: Card, session: Session, found: panel.Panel) -> dict:
        """A card with what was computed for the visitor."""
        said = stored.own(panel.about(self.studio, session))
        return self.parts[card.place].shown(said, found)

    def picture(self, place: str) -> str:
        """The picture of a stored example, drawn once for all visitors."""
        if place not in self.pictures and self.examples is not None:
            self.pictures[place] = drawn(self.examples.panel(place))
        return self.pictures.get(place, "")

    # ---- events --------------------------------------------------------------------------------

    def wire(self) -> None:
        """The buttons of the cards that have one."""
        for card in CARDS:
            if card.cost:
                self.buttons(card, self.parts[card.place])

    def buttons(self, card: Card, parts: Parts) -> None:
        """Compute a card's figure when it is asked for, and stop that."""

        def ask(request: gr.Request) -> Iterator[dict]:
            yield from self.ask(card, request)

        def end(request: gr.Request) -> None:
            self.running.stop(request, card.place)

        shown = [parts.caption, parts.status, parts.figure, parts.words]
        outputs = [*shown, parts.show, parts.stop, self.about]
        parts.show.click(ask, None, outputs, api_name=f"inside_{card.place}", **OPEN)
        parts.stop.click(end, None, None, api_name=f"stop_{card.place}", **OPEN)

    def opened(self, tab: gr.Tab) -> None:
        """Bring the cards up to date whenever the tab is opened."""
        outputs: list[Any] = [self.about, self.drawn]
        for parts in self.parts.values():
            outputs += [parts.caption, parts.status, parts.figure, parts.words]
        tab.select(self.look, self.drawn, outputs, api_name="inside", **OPEN)

    def look(self, drawn: bool, request: gr.Request) -> Iterator[dict]:
        """The pictures of the stored examples first; then, of what is live, all that costs little.

        Nothing is computed again while edits and prompt are those of the last time.
        """
        session = self.studio.sessions.get(request.session_hash)
        page = {self.about: self.line(session), self.drawn: True}
        now = session.patch, subject_of(self.studio.choices, session).case.fact
        if session.looked is not None and _same(session.looked, now):
            yield page
            return
        live = bool(session.patch) or self.examples is None
        back = session.looked is not None and not live
        session.looked = now if live else None
        yield page
        if back or not drawn:
            for card in CARDS:  # one by one: the first visitor waits for each to be drawn
                yield self.stored_card(card)
        if live:
            yield from self.follow(request, session)

    def follow(self, request: gr.Request, session: Session) -> Iterator[dict]:
        """Compute the cards that cost little, one after the other, for what is live."""
        cards = [card for card in CARDS if not card.cost]
        ready: list[dict] = []

        def start(run: LongRun) -> Generator[Progress, None, None]:
            for card in cards:
                try:
                    found = yield from card.make(run)
                except Trouble as error:  # it says why this edit has no such figure
                    ready.append(self.stored_card(card, str(error)))
                else:
                    ready.append(self.own_card(card, session, found))

        sent = 0
        try:
            for line in self.running.follow(request, "opened", start, lambda _: None):
                page: dict = {}
                if sent < len(cards):
                    page = {self.parts[cards[sent].place].status: line}
                for one in ready[sent:]:
                    page |= one
                sent = len(ready)
                yield page
        except gr.Error:  # too much runs for this visitor: the examples stay
            session.looked = None
        if len(ready) < len(cards):
            session.looked = None
        rest: dict = {}
        for one in ready[sent:]:
            rest |= one
        yield rest or {self.drawn: True}

    def ask(self, card: Card, request: gr.Request) -> Iterator[dict]:
        """The card's figure, with its progress; errors stay in the card as one sentence."""
        parts, found = self.parts[card.place], []
        session = self.studio.sessions.get(request.session_hash)
        try:
            for line in self.running.follow(request, card.place, card.make, found.append):
                yield {parts.status: line, **_buttons(parts, True)}
        except gr.Error:  # the card says it already: nothing went wrong that needs a toast
            pass
        page = {self.about: self.line(session), **_buttons(parts, False)}
        if found:
            page |= self.own_card(card, session, found[0])
        yield page


def drawn(found: panel.Panel) -> str:
    """A panel's figure as an image with its sentence as the text alternative."""
    return picture(found.figure, found.found)


def _same(one: tuple, other: tuple) -> bool:
    """Whether two looks were at the same patch and the same fact."""
    return one[0] is other[0] and one[1] == other[1]


def _buttons(parts: Parts, running: bool) -> dict:
    return {
        parts.show: gr.Button(interactive=not running),
        parts.stop: gr.Button(visible=running),
    }
