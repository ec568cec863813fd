"""Everything that the page uses of Gradio beyond its public names.

Gradio 6 has no public way to return one sentence for a call that its components cannot parse, to
drop its data about visitors who have left, to read the data that a browser sends with a click, or
to run before its own middleware. If a Gradio release renames one of these, only this file breaks,
and tests/demo_app/test_gradio_internals.py shows which name it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.api_component import Api

from .session.worker import FAILED, Stopped, Trouble

log = logging.getLogger(__name__)


class Blocks(gr.Blocks):
    """Gradio's Blocks, except that every failing call gets a one-sentence answer.

    Gradio sends no text for input that its components cannot parse, nor for errors it doesn't
    recognize.
    """

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *given: Any, **more: Any
    ) -> list[Any]:
        """The values for a handler; trailing parameters missing from a program's call get their
        defaults.

        Raises gr.Error if the values do not fit.
        """
        wanted, name = block_fn.inputs, block_fn.api_name or "this"
        if len(inputs) < len(wanted) and all(isinstance(one, Api) for one in wanted):
            inputs = [*inputs, *(one.value for one in wanted[len(inputs) :])]
        if block_fn.fn is None:
            raise said("This runs in the browser. It is not an endpoint.")
        if len(inputs) != len(wanted):
            some = f"{len(wanted)} value{'s' * (len(wanted) != 1)}"
            raise said(f"/{name} takes {some}, but this call has {len(inputs)}.")
        try:
            return await super().preprocess_data(block_fn, inputs, *given, **more)
        # Gradio's own messages repeat the value, however long it is, and all choices
        except Exception:
            log.info("values that don't fit", exc_info=True)
            raise said(f"A value in this call has the wrong type for /{name}.") from None

    async def process_api(self, *given: Any, **more: Any) -> dict[str, Any]:
        """Answer a call. Raises gr.Error, with one sentence, for anything that goes wrong."""
        try:
            return await super().process_api(*given, **more)
        except gr.Error:
            raise
        except (Trouble, Stopped) as known:
            raise said(str(known) or "Stopped; nothing was changed.") from None
        except Exception:
            log.exception("a call failed")
            raise said(FAILED) from None


def said(sentence: str) -> gr.Error:
    """The sentence as an error message on the page."""
    # the page renders it as HTML
    return gr.Error(escape(sentence), duration=6, print_exception=False)


class Forgotten:
    """Drops Gradio's own data about visitors who have left, including their file names.

    A visitor's message queue is dropped once their last call has ended, because Gradio keeps
    writing to it until then.
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
        for path in Path(self.demo.GRADIO_CACHE).glob("tmp*"):  # Gradio creates one per upload
            with suppress(OSError):
                if path.is_file() and path.stat().st_size == 0:
                    path.unlink()


def chosen(event: gr.EventData, name: str) -> Any:
    """The value that a browser sends with a click, or None if a program doesn't send it."""
    return event._data.get(name) if isinstance(event._data, dict) else None


def put_before(app: Any, guard: Callable[[Any], Any]) -> None:
    """Wrap the finished middleware stack of an application while it starts.

    Gradio adds its own middleware after any that you pass, and that is where it answers other
    origins.
    """
    app.middleware_stack = guard(app.middleware_stack)
