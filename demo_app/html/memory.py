"""A layer is a memory: the picture as a page of its own, and as the lab's first question."""

from __future__ import annotations

from pathlib import Path
from string import Template

from .head import tags
from .theme import read

SCRIPT = read("memory.js")
PREVIEW = Path(__file__).with_name("memory.png")  # as make_gallery takes it of the page
WORDS = (  # title and text of its preview
    "A layer is a memory",
    "Pull one answer of a layer of a language model to Rome. Who comes along, and why? Every "
    "editor of knowledge in one picture.",
)


def page(origin: str) -> str:
    """The page: one file that asks no server; `origin` is the address of the whole."""
    head = tags(*WORDS, f"{origin}/memory", f"{origin}/memory.png")
    return Template(read("memory.html")).substitute(head=head, script=SCRIPT)
