"""Lets a page be built while another one runs, without a stranger's parts in it.

Gradio keeps the page that is being built, and the row or tab inside it, in a place that all threads
share, and every component that is made joins what stands there. A handler that changes a running
page makes components, too: `gr.Button(interactive=False)` is how it says so. While a second model's
page is built in a thread, such a button of the first page would be laid into the second. So each
thread gets a place of its own.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import gradio.context

_here = threading.local()


class _PerThread(type):
    """Of a class whose `root_block` and `block` belong to the thread that sets them."""

    @property
    def root_block(cls) -> Any:
        """The page that this thread builds, None where it builds none."""
        return getattr(_here, "root_block", None)

    @root_block.setter
    def root_block(cls, value: Any) -> None:
        _here.root_block = value

    @property
    def block(cls) -> Any:
        """The row, column or tab that this thread is filling, None outside of any."""
        return getattr(_here, "block", None)

    @block.setter
    def block(cls, value: Any) -> None:
        _here.block = value


class _Context(gradio.context.Context, metaclass=_PerThread):
    """Gradio's own, but for those two."""


def apart() -> None:
    """From here on each thread builds for itself; not to be called while a page is being built."""
    shared = gradio.context.Context
    if shared is _Context:
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "gradio" and vars(module).get("Context") is shared:
            module.Context = _Context  # type: ignore[attr-defined]
