"""Every command that writes, killed fifty times at random moments (see `tests.support.kills`)."""

from __future__ import annotations

import os

import pytest

from ..support.kills import COMMANDS, run_kills

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_fifty_times_the_target_is_whole_or_absent(name, tmp_path):
    found = run_kills(name, tmp_path, 50)
    print(name, found)
    assert found["kills"] == 50
    assert found["absent"] + found["begun"] + found["whole"] == 50
