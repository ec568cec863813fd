"""What the page takes of Gradio beside its public names is there in the installed version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# of a page that is open, by dotted path
NAMES = (
    "preprocess_data", "process_api", "state_holder.session_data", "state_holder.time_last_used",
    "temp_file_sets", "GRADIO_CACHE", "_queue.active_jobs", "_queue.pending_messages_per_session",
    "_queue.pending_event_ids_session", "app.middleware_stack",
)  # fmt: skip


def missing(demo: Any, names: Iterable[str]) -> list[str]:
    """Which of the names an open page of the installed Gradio does not have."""
    found = []
    for name in names:
        owner: Any = demo
        for part in name.split("."):
            owner = getattr(owner, part, found)
        if owner is found:
            found.append(name)
    return found


def test_gradio_has_what_the_page_takes_of_it(page):
    demo, _ = page
    assert missing(demo, NAMES) == []
    assert missing(demo, [*NAMES, "_queue.no_such_store"]) == ["_queue.no_such_store"]
