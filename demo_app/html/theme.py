"""The files in this folder: styles, scripts, pieces of HTML, and the page's colors and fonts.

theme.json has system fonts, quiet grays, and the figures' accent color in shades derived from the
course's EDITED; white text on the seventh shade has a contrast of 5.6. The entries in "look" are
variables of Gradio's base theme. No font is downloaded.
"""

from __future__ import annotations

from pathlib import Path


def read(name: str) -> str:
    """The text of a file in this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


CSS = "".join(map(read, ("style.css", "comparison.css", "opening.css", "tabs.css", "phone.css")))
SCRIPT = read("try.js")
