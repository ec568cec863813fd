"""What the three tabs with long runs share: a chain's progress as a line with a bar, and Stop."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Generator, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components.plot import PlotData
from matplotlib.figure import Figure

from ..html import render
from ..session.long_run import Chain
from ..session.worker import Progress, Stopped, Trouble

if TYPE_CHECKING:
    from ..session.studio import Studio

OPEN = {"concurrency_limit": None, "show_progress": "hidden"}  # the one worker is the line
EVERY = 0.25  # seconds between two sights of the bar

START = Callable[[Chain], Generator[Progress, None, Any]]


class Running:
    """The chains of a tab by visitor and place, so that its Stop ends this one and no other."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self._chains = studio, {}

    def follow(
        self, request: gr.Request, place: str, start: START, ended: Callable[[Any], None]
    ) -> Iterator[str]:
        """Lines to show while it runs; at its end `ended` gets the result.

        Raises gr.Error for what went wrong, after a line that says so.
        """
        key = request.session_hash, place
        chain = None
        try:
            chain = Chain(self.studio, self.studio.sessions.get(request.session_hash))
            self._chains[key] = chain
            steps, shown = start(chain), 0.0
            while True:
                try:
                    progress = next(steps)
                except StopIteration as end:
                    ended(end.value)
                    return
                if time.monotonic() - shown >= EVERY:
                    shown = time.monotonic()
                    yield render.busy(progress, chain.ahead())
        except Trouble as error:
            yield render.sorry(str(error))
            raise gr.Error(escape(str(error)), duration=6, print_exception=False) from None
        except Stopped:
            yield render.sorry("Stopped.")
        finally:
            if chain is not None:
                chain.close()
                if self._chains.get(key) is chain:
                    del self._chains[key]

    def stop(self, request: gr.Request, place: str) -> None:
        """End what runs at a place of this visitor's page."""
        chain = self._chains.get((request.session_hash, place))
        if chain is not None:
            chain.stop()


def picture(figure: Figure) -> PlotData:
    """A figure for gr.Plot, which knows a bare matplotlib Figure only; as a small PNG."""
    data = base64.b64encode(figure._repr_png_()).decode()
    return PlotData(type="matplotlib", plot=f"data:image/png;base64,{data}")


def done(text: str) -> str:
    """A line that says what came of it; `text` is HTML."""
    return f'<div class="status done" role="status">✓ {text}</div>'


def hint(text: str) -> str:
    """A quiet line: what to do, or what to see. `text` is HTML."""
    return f'<p class="hint">{text}</p>'


def in_words(text: str) -> str:
    """The text alternative of a figure, folded."""
    return f'<details class="alt"><summary>The figure in words</summary>{text}</details>'
