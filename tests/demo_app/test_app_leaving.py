"""What a visitor leaves behind on closing the page: nothing, in the page's lists or on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo_app.session import memory_ceiling

from . import visits

ROOT = Path(__file__).parents[2]
GROWTH = 16e6  # bytes


@pytest.mark.slow
def test_visitors_who_have_left_leave_nothing(page, tmp_path):
    visits.visit(page, 0, tmp_path)  # what is kept for everybody
    visits.settled(page)  # a cancelled edit may end yet, and is kept for everybody then
    page[1].first_edits.made.clear()
    first = visits.settled(page)
    for number in (4, 5):
        visits.visit(page, number, tmp_path)
    visits.settled(page)
    page[1].first_edits.made.clear()
    assert visits.settled(page) == first
    empty = {"patches", "first edits", "sessions"}
    assert not any(count for kind, count in first.items() if kind not in empty)


@pytest.mark.slow
def test_memory_after_thirty_visits_is_what_it_was():
    """Resident memory grows by at most 16 MB over thirty visits, after sixty that fill the caches.

    In a process of its own that begins as `python -m demo_app` does, with one heap for all threads:
    with the several that the C library makes by default, in a process full of other tests, up to
    17 MB were seen, while no list of the page grew.
    """
    if memory_ceiling.resident() is None:
        pytest.skip("resident memory is read from /proc")
    run = subprocess.run(
        [sys.executable, "-m", "tests.demo_app.visits", "60", "90"],
        cwd=ROOT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    after_sixty, after_ninety = json.loads(run.stdout.splitlines()[-1])
    assert after_ninety - after_sixty < GROWTH
