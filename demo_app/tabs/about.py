"""What the page does and what its numbers mean, in plain words; folded at the foot of the page."""

from __future__ import annotations

from html import escape
from pathlib import Path

LICENSES = {
    "SmolLM2-135M-Instruct": "by Hugging Face, 135 million numbers, Apache License 2.0",
    "gemma-3-270m": "by Google, 268 million numbers, under Google’s Gemma Terms of Use "
    "(ai.google.dev/gemma/terms)",
}

TEXT = Path(__file__).parents[1] / "html" / "about.html"


def about(model: str) -> str:
    """The text, for the model at hand."""
    license = f", {LICENSES[model]}" if model in LICENSES else ""
    text = TEXT.read_text(encoding="utf-8").format(model=escape(model), license=escape(license))
    title = "What happens here, and what the numbers mean"
    return f'<details class="about"><summary>{title}</summary>{text}</details>'
