"""Every command that writes, killed fifty times; all runs have one thread (`support/kills.py`)."""

from __future__ import annotations

import os
import signal

import pytest
from tqdm import tqdm

from ..support.kills import COMMANDS, run_kills

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_fifty_times_the_target_is_whole_or_absent(name, tmp_path):
    found = run_kills(name, tmp_path, 50)
    print(name, found)
    assert found["kills"] == 50
    assert found["absent"] + found["begun"] + found["whole"] == 50


def test_a_killed_child_leaves_the_progress_bars_lock_free():
    child = os.fork()
    if not child:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert tqdm.get_lock().acquire(timeout=5)
    tqdm.get_lock().release()
