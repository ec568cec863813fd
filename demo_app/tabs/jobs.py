"""Runs a job for one of the page's handlers, showing its progress and stopping it when the page
closes.

A handler is a generator that doesn't hold a lock or a patch. Visitors are identified by the id that
Gradio gives each open page.
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

OPEN = {  # the worker is the only queue; programs use the endpoints in api.py
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "undocumented",
}
HIDDEN = {**OPEN, "api_visibility": "private"}  # not callable by programs


def follow(
    studio: Studio,
    request: gr.Request,
    start: Callable[[Session], Job],
    working: Callable[[Progress, int], Any],
    rest: Callable[[Session, str | None, Any], Any],
) -> Iterator[Any]:
    """Start a job, show its progress, then its result.

    working(progress, jobs ahead) returns the page while it runs; rest(session, status, result)
    returns it afterwards, with a status but no result if something went wrong.
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
        raise  # gradio_internals.Blocks also shows it as a message
    except Stopped:
        yield rest(session, render.finding("Stopped; nothing was changed."), None)
        return
    finally:
        if job is not None:
            job.stop()
    yield rest(session, None, result)


def stopping(studio: Studio, aside: bool = True) -> Callable[[gr.Request], None]:
    """End a visitor's long questions or, with aside=False, the first place's job."""

    def stop(request: gr.Request) -> None:
        studio.sessions.get(request.session_hash).stop(aside)

    return stop


def handed_out(session: Session, button: gr.DownloadButton, path: Path) -> str:
    """Move a finished file into the web server's folder, until its visitor leaves."""
    folder = Path(button.GRADIO_CACHE) / secrets.token_hex(16)  # not guessable by other visitors
    folder.mkdir(parents=True)
    kept = shutil.move(path, folder / path.name)
    session.owns(kept)
    return str(kept)
