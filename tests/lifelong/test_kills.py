"""Every command that writes, killed again and again, on one thread (`support/kills.py`)."""

from __future__ import annotations

import os
import signal

import pytest
from tqdm import tqdm

from ..support.kills import COMMANDS, run_kills
from ..support.usual import EVERY

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_wherever_it_is_killed_the_target_is_whole_or_absent(name, tmp_path):
    kills = 50 if EVERY else 4
    found = run_kills(name, tmp_path, kills)
    print(name, found)
    assert found["absent"] + found["begun"] + found["whole"] == found["kills"] == kills


def test_a_killed_child_leaves_the_progress_bars_lock_free():
    child = os.fork()
    if not child:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert tqdm.get_lock().acquire(timeout=5)
    tqdm.get_lock().release()
