"""Runs a job for a handler of the page: shows its progress, and stops it when the page is closed.

A handler is a generator that holds no lock and no patch. A visitor is known by the id that Gradio
gives to the open page.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..html import render
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job, Progress, Stopped, Trouble

OPEN = {  # the worker is the only line to wait in; programs have the endpoints of api.py
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "undocumented",
}
HIDDEN = {**OPEN, "api_visibility": "private"}  # nothing that a program could call


def follow(
    studio: Studio,
    request: gr.Request,
    start: Callable[[Session], Job],
    working: Callable[[Progress, int], Any],
    rest: Callable[[Session, str | None, Any], Any],
) -> Iterator[Any]:
    """Start a job, show its progress, then its result.

    working(progress, jobs ahead) is the page while it runs; rest(session, status, result) the page
    afterwards, with a status and no result where something went wrong.
    """
    session = studio.sessions.get(request.session_hash)
    job = None
    try:
        job = start(session)
        for progress in job.watch():
            yield working(progress, studio.worker.ahead(job, session.jobs))
        result = job.outcome()
    except Trouble as error:
        yield rest(session, render.sorry(str(error)), None)
        raise  # gradio_internals.Blocks tells it in a message as well
    except Stopped:
        yield rest(session, render.finding("Stopped; nothing was changed."), None)
        return
    finally:
        if job is not None:
            job.stop()
    yield rest(session, None, result)


def stopping(studio: Studio, aside: bool = True) -> Callable[[gr.Request], None]:
    """Ends a visitor's long questions, or with aside=False the job of the first place."""

    def stop(request: gr.Request) -> None:
        studio.sessions.get(request.session_hash).stop(aside)

    return stop


def handed_out(session: Session, button: gr.DownloadButton, path: Path) -> str:
    """Move a finished file to where the web server hands it out, until its visitor leaves."""
    folder = Path(button.GRADIO_CACHE) / secrets.token_hex(16)  # nobody else can name it
    folder.mkdir(parents=True)
    kept = shutil.move(path, folder / path.name)
    session.owns(kept)
    return str(kept)
