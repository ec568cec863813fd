"""The tab that looks inside the edit: one card per figure, computed when a visitor asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from ..html import render
from ..inside import key_overlap, layers_of_a_fact, panel, ranks_and_changes
from ..session.studio import Studio
from .long_runs import OPEN, START, Running, picture


@dataclass(frozen=True)
class Card:
    """A figure that can be asked for.

    place: the name of the card in the page's ids and endpoints.
    title: its heading.
    see: a sentence or two that say what to look at.
    make: computes the panel.
    """

    place: str
    title: str
    see: str
    make: START


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
        "layers bring the answer back, and whether the edited layer is among them. Takes about "
        "half a minute.",
        layers_of_a_fact.traced,
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
        "writes there. Takes a minute or two.",
        layers_of_a_fact.wise_layers,
    ),
)


class Inside:
    """A line that says whose insides these are, and the cards."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.running = studio, Running(studio)
        with gr.Column(elem_classes="card"):
            gr.HTML('<h2 class="name">Inside the edit</h2>')
            self.about = gr.HTML(self.line(None), elem_id="inside-about")
        with gr.Row(equal_height=False):  # two columns: a tall card leaves no hole beside it
            for half in CARDS[:3], CARDS[3:]:
                with gr.Column(min_width=320):
                    for card in half:
                        self.card(card)

    def line(self, request: gr.Request | None) -> str:
        sessions = self.studio.sessions
        session = sessions.get(request.session_hash) if request else self.studio.visitor()
        return render.hint(escape(panel.about(self.studio, session)))

    def opened(self, tab: gr.Tab) -> None:
        """Say whose insides these are whenever the tab is opened."""

        def look(request: gr.Request) -> str:
            return self.line(request)

        tab.select(look, None, self.about, api_name="inside", **OPEN)

    def card(self, card: Card) -> None:
        with gr.Column(elem_classes="card", min_width=320, elem_id=f"inside-{card.place}"):
            gr.HTML(f'<h2 class="name">{card.title}</h2>')
            gr.HTML(render.hint(card.see))
            with gr.Row():
                show = gr.Button("Show", size="sm", min_width=110, scale=0)
                stop = gr.Button("Stop", size="sm", min_width=110, scale=0, visible=False)
            status = gr.HTML("", elem_classes="line")
            figure = gr.Plot(
                format="png",
                label=card.title,
                show_label=False,
                container=False,
                visible=False,
                elem_classes="figure",
            )
            words = gr.HTML("", visible=False)

        def ask(request: gr.Request) -> Iterator[tuple]:
            yield from self.ask(card, request)

        def end(request: gr.Request) -> None:
            self.running.stop(request, card.place)

        outputs = [status, show, stop, figure, words, self.about]
        show.click(ask, None, outputs, api_name=f"inside_{card.place}", **OPEN)
        stop.click(end, None, None, api_name=f"stop_{card.place}", **OPEN)

    def ask(self, card: Card, request: gr.Request) -> Iterator[tuple]:
        """The card's figure, with its progress; errors stay in the card as one sentence."""
        found: list[panel.Panel] = []
        same: Any = gr.skip()
        try:
            for line in self.running.follow(request, card.place, card.make, found.append):
                yield line, *_buttons(True), same, same, same
        except gr.Error:  # the card says it already: nothing went wrong that needs a toast
            pass
        if not found:
            yield same, *_buttons(False), same, same, self.line(request)
            return
        shown = found[0]
        yield (
            render.done(shown.found),
            *_buttons(False),
            gr.Plot(value=picture(shown.figure), visible=True),
            gr.HTML(render.in_words(shown.lines), visible=bool(shown.lines)),
            self.line(request),
        )


def _buttons(running: bool) -> tuple[gr.Button, gr.Button]:
    return gr.Button(interactive=not running), gr.Button(visible=running)
