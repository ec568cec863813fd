"""A layer is a memory: the picture as a page of its own, and as the lab's first question."""

from __future__ import annotations

from pathlib import Path

from .head import Words, tags

SCRIPT = Path(__file__).with_name("memory.js").read_text(encoding="utf-8")
PREVIEW = Path(__file__).with_name("memory.png")  # as make_gallery takes it of the page
WORDS = Words(
    "A layer is a memory",
    "Pull one answer of a layer of a language model to Rome. Who comes along, and why? Every "
    "editor of knowledge in one picture.",
)
TRY = "./?example=the-eiffel-tower&amp;editors=rome"
STYLE = """body{margin:0;background:#f7f8fa;font:16px/1.45 system-ui,"DejaVu Sans",sans-serif}
nav{padding:0 20px 24px}nav a{color:#b34404}main{max-width:1280px;margin:auto}
nav{max-width:1240px;margin:auto}
@media (prefers-color-scheme:dark){body{background:#131920;color:#e8edf2}nav a{color:#ff9a52}}"""
IN_LAB = (
    '<div class="picture"></div><p class="line"><a href="./memory" target="_blank">This picture on '
    "a page of its own, to send on</a></p>"
)
ON_LOAD = f"""{SCRIPT}
const outside = element.querySelector(".picture"), inside = document.createElement("div");
(outside.shadowRoot ?? outside.attachShadow({{mode: "open"}})).replaceChildren(inside);
memoryPicture.mount(inside, {{host: true}});"""  # the shadow keeps Gradio's style of text out


def page(origin: str) -> str:
    """The page: one file that asks no server; `origin` is the address of the whole."""
    head = tags(WORDS, f"{origin}/memory", f"{origin}/memory.png")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{head}'
        f"<style>{STYLE}</style></head><body><main></main>"
        f'<nav><a href="{TRY}">The same story on the real model: move the tower, and see who comes '
        f"along</a></nav><script>{SCRIPT}\nmemoryPicture.mount(document.querySelector('main'));"
        "</script></body></html>"
    )
