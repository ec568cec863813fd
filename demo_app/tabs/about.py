"""A plain explanation of the page and its numbers, folded at the bottom of the page."""

from __future__ import annotations

from html import escape

from ..html.theme import read

LICENSES = {
    "SmolLM2-135M-Instruct": "by Hugging Face, 135 million numbers, Apache License 2.0",
    "gemma-3-270m": "by Google, 268 million numbers, under Google’s Gemma Terms of Use "
    "(ai.google.dev/gemma/terms)",
}


def about(model: str) -> str:
    """The text for this model."""
    license = f", {LICENSES[model]}" if model in LICENSES else ""
    return read("about.html").format(model=escape(model), license=escape(license))
