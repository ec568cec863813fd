"""A figure as an image inside the page."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def picture(figure: Figure, text: str) -> str:
    """A figure as an image inside the page, with its text alternative."""
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=144)
    data = base64.b64encode(held.getvalue()).decode()
    return f'<img class="figure" alt="{escape(text)}" src="data:image/png;base64,{data}">'
