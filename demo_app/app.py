"""The page: a line on top, one tab per file, and the endpoints for programs.

What visitors may do is in session/, figures are in inside/ and lifelong/, plain values become HTML
in html/, and each tab is a file in tabs/.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.api_component import Api

from .api import endpoints
from .html import render
from .html.theme import CSS, FONT, LOOK, MONO, SHADES
from .session.studio import Studio
from .session.suspects import whole_model
from .session.uploads import PATCH
from .session.views import View
from .session.worker import FAILED, Stopped, Trouble
from .stored import examples as finished
from .tabs.about import about
from .tabs.dossier import DossierTab
from .tabs.edit import Page
from .tabs.gallery import GalleryTab
from .tabs.inside import Inside
from .tabs.interference import Interference
from .tabs.lifelong import Lifelong
from .tabs.take_away import TakeAway
from .tabs.trace import TraceTab

TITLE = "Edit a language model's memory"
log = logging.getLogger(__name__)


class Blocks(gr.Blocks):
    """Gradio's blocks, in which every call that fails answers with one sentence.

    Gradio sends no text for what its components cannot read, nor for errors that it does not know.

    largest: bytes of the largest file that may be uploaded.
    """

    largest: int = PATCH

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *given: Any, **more: Any
    ) -> list[Any]:
        """The values for a handler; an endpoint for programs gets its defaults for the last ones.

        Raises gr.Error for values that do not fit.
        """
        wanted, name = block_fn.inputs, block_fn.api_name or "this"
        if len(inputs) < len(wanted) and all(isinstance(one, Api) for one in wanted):
            inputs = [*inputs, *(one.value for one in wanted[len(inputs) :])]
        if block_fn.fn is None:
            raise _said("This is done in the browser: there is no such endpoint.")
        if len(inputs) != len(wanted):
            some = f"{len(wanted)} value{'s' * (len(wanted) != 1)}"
            raise _said(f"/{name} takes {some}, and this call has {len(inputs)}.")
        try:
            return await super().preprocess_data(block_fn, inputs, *given, **more)
        except Exception:  # Gradio's own sentences repeat the value, however long, and all choices
            log.info("values that do not fit", exc_info=True)
            raise _said(f"A value of this call is not of the kind that /{name} takes.") from None

    async def process_api(self, *given: Any, **more: Any) -> dict[str, Any]:
        """What a call answers. Raises gr.Error, with one sentence, for whatever goes wrong."""
        try:
            return await super().process_api(*given, **more)
        except gr.Error:
            raise
        except (Trouble, Stopped) as known:
            raise _said(str(known) or "Stopped; nothing was changed.") from None
        except Exception:
            log.exception("a call failed")
            raise _said(FAILED) from None


def _said(sentence: str) -> gr.Error:
    return gr.Error(escape(sentence), print_exception=False)  # the page shows it as HTML


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


def build(studio: Studio, examples: finished.Examples | None, ready: View) -> Blocks:
    """The page over a studio; `ready` is the view that stands on it when it opens.

    ?example=… in its address fills the form with another fact (see session/links.py).
    """
    with Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        with gr.Row(elem_id="top"):
            gr.HTML(f"<h1>{TITLE}</h1>", scale=8, min_width=320)
            live = gr.HTML(render.header(studio.lm.plain_name, 0), scale=3, min_width=110)
            last = gr.Button("Undo last", size="sm", interactive=False, scale=0, min_width=100)
            everything = gr.Button("Undo all", size="sm", interactive=False, scale=0, min_width=100)
        with gr.Tabs(selected="edit", overflow_behavior="wrap") as tabs:
            with gr.Tab("Try", id="edit") as tab:
                page = Page(studio, ready, live, last, everything)
                page.edits.opened(tab)
            with gr.Tab("Gallery", id="gallery"):
                GalleryTab(studio)
            with gr.Tab("One subject", id="dossier") as tab:
                DossierTab(studio, examples).opened(tab)
            with gr.Tab("Interference", id="interference") as tab:
                Interference(studio, page, examples).opened(tab)
            with gr.Tab("Lifelong", id="lifelong") as tab:
                lifelong = Lifelong(studio, examples)
                lifelong.opened(tab)
                lifelong.opened_queue(tab)
            with gr.Tab("Inside the edit", id="inside") as tab:
                Inside(studio, examples).opened(tab)
            with gr.Tab("Was this edited?", id="trace"):
                TraceTab(studio, examples)
            with gr.Tab("Take away", id="take") as tab:
                taken = TakeAway(studio)
                taken.opened(tab)
                page.follows(taken.loaded)
            with gr.Tab("About", id="about"):
                with gr.Column(elem_classes="card"):
                    gr.HTML(about(studio.lm.plain_name))

        endpoints(studio)

        def leave(request: gr.Request) -> None:
            studio.sessions.drop(request.session_hash)

        demo.unload(leave)
        page.reopened(demo)
        lifelong.reopened(demo, tabs)
    studio.sessions.forgotten = Forgotten(demo)
    demo.largest = whole_model(studio.lm)
    return demo.queue(max_size=200)


def appearance(demo: Blocks) -> dict[str, Any]:
    """How a page looks and what its web server takes; Gradio wants it where it is served.

    The largest file is all of the page's model: it may be brought to “Was this edited?”.
    """
    return {
        "theme": theme(),
        "css": CSS,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": demo.largest,
    }


class Forgotten:
    """Drops what Gradio itself keeps of visitors who have left, and the names of their files.

    The messages to a visitor are dropped when the last call of the visitor has ended, since Gradio
    goes on writing them until then.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self.demo = demo
        self._left: set[str] = set()

    def __call__(self, key: str, files: set[str]) -> None:
        holder, queue = getattr(self.demo, "state_holder", None), self.demo._queue
        if holder is not None:
            holder.session_data.pop(key, None)
            holder.time_last_used.pop(key, None)
        for known in self.demo.temp_file_sets:
            known -= files
        self._left.add(key)
        busy = {event.session_hash for job in queue.active_jobs if job for event in job}
        for left in self._left - busy:
            queue.pending_messages_per_session.pop(left, None)
            queue.pending_event_ids_session.pop(left, None)
        self._left &= busy
        for path in Path(self.demo.GRADIO_CACHE).glob("tmp*"):  # Gradio makes one for each upload
            with suppress(OSError):
                if path.is_file() and path.stat().st_size == 0:
                    path.unlink()
