"""The page: its header, its three places, and the endpoints for programs.

The visitors' actions are in session/, html/ turns plain values into HTML, and tabs/ contains the
parts of the three places.
"""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from .api import endpoints
from .gradio_internals import Blocks, Forgotten
from .html import memory, render, shared_picture
from .html.head import TITLE, origin
from .html.theme import CSS, read
from .session import links, sharing
from .session.studio import Studio
from .session.views import View
from .session.worker import Trouble
from .stored import examples as finished
from .tabs.about import about
from .tabs.edit import Page
from .tabs.gallery import surprises
from .tabs.jobs import HIDDEN
from .tabs.lab import Lab
from .tabs.questions import questions
from .tabs.take_away import TakeAway

PREVIEW = Path(__file__).with_name("preview.png")  # drawn by make_gallery
ROUTES = [
    Route("/preview.png", lambda request: FileResponse(PREVIEW)),
    Route("/memory", lambda request: HTMLResponse(memory.page(origin(request.scope)))),
    Route("/memory.png", lambda request: FileResponse(memory.PREVIEW)),
]
SHARED = "/share.png"
WHAT = "Change one fact in a small language model, and see what changes with it."


def build(studio: Studio, examples: finished.Examples | None, ready: View) -> Blocks:
    """Build the page over a studio; `ready` is the view that it opens with.

    ?example=… in its address fills the form with another fact (see session/links.py).
    """
    with Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        with gr.Row(elem_id="top"):
            gr.HTML(f"<h1>{TITLE}</h1><p>{WHAT}</p>", scale=8, min_width=320)
            gr.HTML(read("large.html"), elem_classes="large", min_width=110)
            live = gr.HTML(render.header(studio.lm.plain_name, 0), scale=3, min_width=110)
        with gr.Tabs(selected="try", overflow_behavior="wrap") as tabs:
            with gr.Tab("Try", id="try") as first:
                page = Page(studio, ready, live, examples)
            with gr.Tab("Surprises", id=links.SURPRISES) as second:
                surprises(studio)
            with gr.Tab("Lab", id=links.LAB) as third:
                with gr.Column(elem_id="lab"):
                    lab = Lab(studio, examples, questions(studio, examples))
                    taken = TakeAway(studio, page.shown)
        gr.HTML(about(studio.lm.plain_name))

        for tab in (first, second, third):
            tab.select(None, None, None, js=read("place.js") % tab.id, **HIDDEN)
        endpoints(studio, examples)

        def leave(request: gr.Request) -> None:
            studio.sessions.drop(request.session_hash)

        demo.unload(leave)
        page.reopened(demo)
        page.layers(lab.cards["layers"].answers[0])
        placed(demo, tabs, taken.fold)
    Thread(target=lab.draw, daemon=True).start()
    studio.sessions.forgotten = Forgotten(demo)
    return demo.queue(max_size=200)


def placed(demo: Blocks, tabs: gr.Tabs, taken: gr.Accordion) -> None:
    """Go to the place named in the page's address; questions.js opens the question in it."""

    def place(request: gr.Request) -> dict:
        where, question = links.place(request.query_params)
        found: dict = {tabs: gr.Tabs(selected=where) if where else gr.skip()}
        if question == links.TAKE:
            found[taken] = gr.Accordion(open=True)
        return found

    demo.load(place, None, [tabs, taken], **HIDDEN)


def routes(studio: Studio, examples: finished.Examples | None) -> list[Route]:
    """The routes for pictures and other pages; a shared edit's picture needs the studio and the
    store.
    """
    stored = examples.view if examples is not None else lambda subject: None

    def picture(request: Request) -> Response:
        try:
            query = dict(request.query_params)
            found = sharing.shared(studio.choices, studio.first_edits, stored, query)
        except Trouble as error:
            return PlainTextResponse(str(error), 400)
        new = found.subject.case.fact.target_new
        by = f"{studio.choices.editors[found.editor][0]} · {studio.lm.plain_name}"
        made = shared_picture.drawn(found.rows, new, by, found.score)
        return Response(made, media_type="image/png")

    return [*ROUTES, Route(SHARED, picture)]


def appearance() -> dict[str, Any]:
    """The page's appearance and its web server's options; Gradio wants them when it is launched."""
    look = json.loads(read("theme.json"))
    theme = gr.themes.Base(
        primary_hue=gr.themes.Color(*look["shades"], name="accent"),
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        font=look["font"],
        font_mono=look["mono"],
    )
    return {
        "theme": theme.set(**look["look"]),
        "css": CSS,
        "head": read("head.html"),
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": 1,  # no part of the page accepts a file
    }
