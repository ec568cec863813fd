"""The page: a line on top, one tab per file, and the endpoints for programs.

What visitors may do is in session/, figures are in inside/ and lifelong/, plain values become HTML
in html/, and each tab is a file in tabs/.
"""

from __future__ import annotations

import gradio as gr

from .api import endpoints
from .html import render
from .html.theme import FONT, LOOK, MONO, SHADES
from .session.studio import Studio
from .session.views import View
from .tabs.about import about
from .tabs.edit import Page
from .tabs.inside import Inside
from .tabs.interference import Interference
from .tabs.lifelong import Lifelong
from .tabs.take_away import TakeAway

TITLE = "Edit a language model's memory"


def theme() -> gr.themes.Base:
    """The theme of the page."""
    made = gr.themes.Base(
        primary_hue=gr.themes.Color(*SHADES, name="accent"),
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        font=FONT,
        font_mono=MONO,
    )
    return made.set(**LOOK)


def build(studio: Studio, ready: View) -> gr.Blocks:
    """The page over a studio; `ready` is the view that stands on it when it opens.

    ?example=… in its address fills the form with another fact (see session/links.py).
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        with gr.Row(elem_id="top"):
            gr.HTML(f"<h1>{TITLE}</h1>", scale=5, min_width=320)
            live = gr.HTML(render.header(studio.lm.name, 0), scale=5, min_width=280)
            last = gr.Button("Undo last", size="sm", interactive=False, scale=0, min_width=100)
            everything = gr.Button("Undo all", size="sm", interactive=False, scale=0, min_width=100)
        with gr.Tabs(selected="edit"):
            with gr.Tab("Edit & compare", id="edit") as tab:
                page = Page(studio, ready, live, last, everything)
                page.edits.opened(tab)
            with gr.Tab("Interference", id="interference"):
                Interference(studio, page)
            with gr.Tab("Lifelong", id="lifelong"):
                Lifelong(studio)
            with gr.Tab("Inside the edit", id="inside") as tab:
                Inside(studio).opened(tab)
            with gr.Tab("Take away", id="take") as tab:
                taken = TakeAway(studio)
                taken.opened(tab)
                page.follows(taken.loaded)
            with gr.Tab("About", id="about"):
                with gr.Column(elem_classes="card"):
                    gr.HTML(about(studio.lm.name))

        endpoints(studio)

        def leave(request: gr.Request) -> None:
            studio.sessions.drop(request.session_hash)

        demo.unload(leave)
        page.reopened(demo)
    return demo.queue(max_size=200)
