"""What the page takes of Gradio beside its public names: all of it stands here.

Gradio 6 has no public way to say one sentence for a call that its components cannot read, to drop
what it keeps of visitors who have left, to read what a browser says of a click, or to stand before
its own middleware. A version that renames one of these breaks the page here and nowhere else;
tests/demo_app/test_gradio_internals.py says which one.
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
    """Gradio's blocks, in which every call that fails answers with one sentence.

    Gradio sends no text for what its components cannot read, nor for errors that it does not know.
    """

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
            raise said("This is done in the browser: there is no such endpoint.")
        if len(inputs) != len(wanted):
            some = f"{len(wanted)} value{'s' * (len(wanted) != 1)}"
            raise said(f"/{name} takes {some}, and this call has {len(inputs)}.")
        try:
            return await super().preprocess_data(block_fn, inputs, *given, **more)
        except Exception:  # Gradio's own sentences repeat the value, however long, and all choices
            log.info("values that do not fit", exc_info=True)
            raise said(f"A value of this call is not of the kind that /{name} takes.") from None

    async def process_api(self, *given: Any, **more: Any) -> dict[str, Any]:
        """What a call answers. Raises gr.Error, with one sentence, for whatever goes wrong."""
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
    """The sentence as an error of the page."""
    return gr.Error(escape(sentence), duration=6, print_exception=False)  # shown as HTML


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


def chosen(event: gr.EventData, name: str) -> Any:
    """What a browser says about a click; None where a program sends nothing of the kind."""
    return event._data.get(name) if isinstance(event._data, dict) else None


def put_before(app: Any, guard: Callable[[Any], Any]) -> None:
    """Wrap the finished middleware of an application that starts.

    Gradio adds its own after any that it is given, and answers for other origins there.
    """
    app.middleware_stack = guard(app.middleware_stack)
