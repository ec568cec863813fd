"""The files beside this one: style, scripts, pieces of HTML, and the colors and type of the page.

theme.json has system fonts, quiet grays, and one accent, that of the figures: its shades are of the
course's EDITED, and the seventh carries white text with a contrast of 5.6. What is in "look" are
variables of Gradio's base theme. No font is fetched from anywhere.
"""

from __future__ import annotations

from pathlib import Path


def read(name: str) -> str:
    """The text of a file that stands beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


CSS = "".join(map(read, ("style.css", "comparison.css", "opening.css", "tabs.css", "phone.css")))
SCRIPT = read("try.js")
