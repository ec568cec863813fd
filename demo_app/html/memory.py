"""The interactive picture "A layer is a memory", as a page and as the lab's first question."""

from __future__ import annotations

from pathlib import Path
from string import Template

from .head import tags
from .theme import read

SCRIPT = read("memory.js")
PREVIEW = Path(__file__).with_name("memory.png")  # a screenshot of the page, made by make_gallery
WORDS = (  # title and text of its preview
    "A layer is a memory",
    "Pull one of the answers in a language model's layer to Rome. Which others move, and "
    "why? All knowledge editors in one picture.",
)


def page(origin: str) -> str:
    """The page as a single file that needs no server; `origin` is the whole app's address."""
    head = tags(*WORDS, f"{origin}/memory", f"{origin}/memory.png")
    return Template(read("memory.html")).substitute(head=head, script=SCRIPT)
