"""Markdown with formulas as HTML, as printable pages, and as PDF if there is a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from html import escape
from pathlib import Path

from latex2mathml.converter import convert
from markdown_it import MarkdownIt

INLINE = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)
# commands that latex2mathml leaves unchanged, in commands that it supports
KNOWN = {r"\arg": r"\operatorname{arg}", r"\Big\langle": r"\langle", r"\Big\rangle": r"\rangle"}
UNKNOWN = re.compile("|".join(f"{re.escape(name)}(?![a-zA-Z])" for name in KNOWN))
BROWSERS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
@page {{ size: A4; margin: 14mm 16mm }}
body {{ font: {size}pt/1.35 system-ui, "DejaVu Sans", sans-serif; max-width: 178mm; margin: auto }}
section {{ break-after: page }}
section:last-child {{ break-after: auto }}
h1 {{ font-size: 1.5em; margin: 0 0 .4em }}
h2 {{ font-size: 1.1em; margin: .8em 0 .3em }}
p, ul, ol {{ margin: .35em 0; padding-left: 0 }}
ul, ol {{ padding-left: 1.5em }}
p, li, tr {{ break-inside: avoid }}
table {{ border-collapse: collapse }}
td, th {{ border: .5pt solid #999; padding: .15em .5em; text-align: left; vertical-align: top }}
code {{ font-size: .92em }}
pre {{ font-size: .8em; white-space: pre-wrap; margin: .35em 1.5em }}
pre code {{ font-size: 1em }}
</style>
{sections}
</html>
"""


def html(text: str, ours: bool = True) -> str:
    """Markdown as HTML, with its formulas as MathML; links lead only to web pages.

    If the text is not `ours`, formulas and HTML in it are shown as they are.
    """
    reader = MarkdownIt("commonmark", {"html": ours}).enable("table")
    reader.validateLink = lambda url: url.startswith(("data:image/png;", "https:"))  # type: ignore[method-assign]
    if not ours:
        return reader.render(text)
    formulas: list[str] = []

    def kept(found: re.Match[str]) -> str:
        display = "block" if found[1] else "inline"
        tex = UNKNOWN.sub(lambda one: KNOWN[one[0]], (found[1] or found[2]).strip())
        formulas.append(convert(tex, display=display))
        return f"<math>{len(formulas) - 1}</math>"

    made = reader.render(INLINE.sub(kept, text))
    return re.sub(r"<math>(\d+)</math>", lambda found: formulas[int(found[1])], made)


def page(title: str, texts: Iterable[str], size: float = 10.5, ours: bool = True) -> str:
    """Markdown texts as one HTML file, each beginning on a new sheet; `ours` as in `html`."""
    sections = "\n".join(f"<section>{html(text, ours)}</section>" for text in texts)
    return PAGE.format(title=escape(title), size=size, sections=sections)


def pdf(path: Path) -> bool:
    """Print an HTML file to a PDF next to it, and return whether a browser did so."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return False
    made = path.with_suffix(".pdf")
    root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = ["--headless", "--disable-gpu", "--no-pdf-header-footer", *root]
        where = [f"--user-data-dir={profile}", f"--print-to-pdf={made}", path.absolute().as_uri()]
        try:
            subprocess.run([browser, *quiet, *where], capture_output=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return made.is_file()
