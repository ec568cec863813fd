"""The trace counts files, statements and lines of what a call enters, and they do not grow."""

from __future__ import annotations

import importlib.util

import pytest

from . import reading

SOURCE = '''"""A file."""

import math


def entered(x):
    """Doubled, if it is large."""
    if x > 1:
        return (
            2 * x
        )
    return math.pi


def never():
    return 3
'''


def test_a_made_up_file(tmp_path):
    path = tmp_path / "made_up.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("made_up", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert reading.traced(lambda: module.entered(0), str(tmp_path)) == (1, 2, 6)
    assert reading.traced(lambda: module.entered(5), str(tmp_path)) == (1, 2, 6)
    assert reading.traced(lambda: None, str(tmp_path)) == (0, 0, 0)


# files and lines at most; lower only
MOST = {"rome": (28, 1071), "wise": (26, 947), "evaluate": (20, 982)}


@pytest.mark.parametrize("call", MOST)
def test_a_call_is_read_in_few_files(call):
    found = reading.reading(call)
    assert found.files <= MOST[call][0] and found.lines <= MOST[call][1]
