"""The surprises, with links that open the page and make an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gradio as gr

from ..html import gallery as html
from ..html.theme import read
from ..session import gallery, links
from ..session.gallery import Exhibit
from ..session.links import Opened
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job


def surprises(studio: Studio) -> None:
    """Show all cards."""
    with gr.Column(elem_id="gallery"):
        gr.HTML(read("surprises.html"))
        gr.HTML(html.cards(gallery.gallery(), studio.lm.identity, studio.choices.editors))


def opened(studio: Studio, shown: Exhibit) -> Opened:
    """Fill the form from an exhibit."""
    first, own = shown.steps[0], "\n".join(shown.own)
    fact = {"subject": first.subject, "prompt": first.prompt, "target": first.target}
    more = {"editors": first.editor, "own": own, "settings": first.options}
    return links.opened(studio.choices, fact | more)


def made(
    studio: Studio,
    request: gr.Request,
    shown: Exhibit,
    run: Callable[[gr.Request, Callable[[Session], Job]], Iterator[dict]],
    line: gr.HTML,
) -> Iterator[dict]:
    """Make an exhibit's edits one after another, then show in `line` whether the answers match.

    `run` runs a job in the first place. Stopping an edit ends the sequence; a failing edit raises
    its Trouble.
    """
    yield {line: html.verdict(shown)}
    session = studio.sessions.get(request.session_hash)
    for start in gallery.plan(studio, shown):
        before = session.view
        yield from run(request, start)
        if session.view is before:
            return
    yield {line: html.verdict(shown, gallery.measured(session.view, shown.said))}
