"""A page of a tiny model, edits on it, visits one after the other, and what it holds after them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lib
from demo_app.session.views import View
from demo_app.session.visitors import Session

from ..support import tiny

TOWER = ("The Eiffel Tower", "{} is located in the city of")


QUICK = {"ft": {"any": {"layer": 2, "lr": 2e-2, "epochs": 3, "target_eos": False}}}


def edit(studio, session, target="xy", editor="ft", **settings) -> View:
    """What comes of an edit of the tower."""
    return studio.edit(
        session, studio.choices.subject(*TOWER, target), editor, **settings
    ).outcome()


@contextmanager
def opened(folder: Path, presets: dict = QUICK) -> Iterator[tuple]:
    """A page of a tiny model and its studio; Gradio's files are in a folder."""
    from demo_app.__main__ import open_page

    with pytest.MonkeyPatch.context() as env:
        env.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.2")  # a closed client is noticed at once
        env.setenv("GRADIO_TEMP_DIR", str(folder))
        env.setattr("lib.editors.shared.config._presets", lambda: presets)
        demo, studio = open_page(tiny.model("llama"), 21860)
        yield demo, studio
        demo.close()
        studio.close()


def held(page) -> dict[str, int]:
    """How many objects of each kind the page holds."""
    demo, studio = page
    gc.collect()
    objects = [type(one) for one in gc.get_objects()]
    queue, cache = demo._queue, Path(demo.GRADIO_CACHE)
    return {
        "visitors": len(studio.sessions._all),
        "sessions": objects.count(Session),
        "patches": objects.count(lib.Patch),
        "first edits": len(studio.first_edits.made),
        "gradio's visitors": len(demo.state_holder.session_data),
        # those of the last ones to leave go with the next
        "gradio's messages": max(0, len(queue.pending_messages_per_session) - 2),
        "gradio's calls": len(queue.event_ids_to_events) + len(demo.app.iterators),
        "names of files": sum(map(len, demo.temp_file_sets)),
        "files": sum(path.is_file() for path in cache.rglob("*")),
    }


def visitor(page, **settings):
    """One who comes to the page: a client of Gradio's."""
    from gradio_client import Client

    return Client(page[0].local_url, verbose=False, **settings)


def until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes true within so many seconds."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def visit(page, number: int, folder: Path) -> None:
    """Come, edit, take the patch home, leave an edit unwaited for, run a test, and go."""
    client = visitor(page, download_files=folder / str(number))
    client.predict(*TOWER, "xy", "ft", api_name="/edit")
    button = client.predict(api_name="/download_patch")[1]
    assert Path(button["value"]).stat().st_size > 1000
    client.submit(f"Thing {number}", "{} is", "xy", "ft", api_name="/edit").cancel()
    if number == 4:
        client.predict([], 2, api_name="/lifelong")
    client.close()


def settled(page) -> dict[str, int]:
    """What is held when what is under way has ended."""
    before, until = {}, time.monotonic() + 90
    busy = ("visitors", "gradio's calls")
    while (found := held(page)) != before or any(found[kind] for kind in busy):
        assert time.monotonic() < until, found
        before = found
        time.sleep(0.3)
    return found
