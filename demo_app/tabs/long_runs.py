"""Runs the long work of three tabs, each with its own line of progress and its own Stop button."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components.plot import PlotData

from ..html import render
from ..session.long_run import LongRun
from ..session.studio import Studio
from ..session.worker import Progress, Stopped, Trouble
from .jobs import call_number, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPEN = {"concurrency_limit": None, "show_progress": "hidden"}  # the worker is the only line
EVERY = 0.25  # seconds between two sights of the bar

START = Callable[[LongRun], Generator[Progress, None, Any]]


class Running:
    """The long runs of a tab by visitor and place, so that a Stop ends this one and no other."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._runs: dict[tuple[str, str], LongRun] = {}

    def follow(
        self, request: gr.Request, place: str, start: START, ended: Callable[[Any], None]
    ) -> Iterator[str]:
        """Lines to show while it runs; at its end `ended` gets the result.

        Raises gr.Error for what went wrong, after a line that says so.
        """
        key = request.session_hash, place
        run = None
        try:
            run = LongRun(self.studio, self.studio.sessions.get(request.session_hash))
            self._runs[key] = run
            steps, shown = start(run), 0.0
            with self.studio.calls.running(call_number(), run.stop):
                while True:
                    try:
                        progress = next(steps)
                    except StopIteration as end:
                        ended(end.value)
                        return
                    if time.monotonic() - shown >= EVERY:
                        shown = time.monotonic()
                        yield render.busy(progress, run.ahead())
        except Trouble as error:
            yield render.sorry(str(error))
            raise told(error) from None
        except Stopped:
            yield render.sorry("Stopped.")
        finally:
            if run is not None:
                run.close()
                if self._runs.get(key) is run:
                    del self._runs[key]

    def stop(self, request: gr.Request, place: str) -> None:
        """End what runs at a place of this visitor's page."""
        run = self._runs.get((request.session_hash, place))
        if run is not None:
            run.stop()


def picture(figure: Figure) -> PlotData:
    """A figure for gr.Plot, which knows a bare matplotlib Figure only; as a small PNG."""
    data = base64.b64encode(figure._repr_png_()).decode()
    return PlotData(type="matplotlib", plot=f"data:image/png;base64,{data}")
