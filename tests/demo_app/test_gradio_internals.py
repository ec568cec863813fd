"""What the page takes of Gradio beside its public names is there in the installed version."""

from __future__ import annotations

from operator import attrgetter

import pytest


@pytest.mark.parametrize(
    "name",  # of a page that is open, by dotted path
    [
        "preprocess_data", "process_api", "state_holder.session_data",
        "state_holder.time_last_used", "temp_file_sets", "GRADIO_CACHE", "_queue.active_jobs",
        "_queue.pending_messages_per_session", "_queue.pending_event_ids_session",
        "app.middleware_stack",
    ],
)  # fmt: skip
def test_gradio_has_what_the_page_takes_of_it(page, name):
    attrgetter(name)(page[0])
