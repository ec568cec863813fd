"""The surprises, whose links open the page with an edit made."""

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
    """All cards."""
    with gr.Column(elem_id="gallery"):
        gr.HTML(read("surprises.html"))
        gr.HTML(html.cards(gallery.gallery(), studio.lm.identity, studio.choices.editors))


def opened(studio: Studio, shown: Exhibit) -> Opened:
    """The form as an exhibit wants it."""
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
    """An exhibit's edits, one after the other, and then in `line` whether they came out as stated.

    `run` does a job of the first place. An edit that was stopped ends it; one that fails raises
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
