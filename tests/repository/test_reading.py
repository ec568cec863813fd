"""The trace counts files, statements and lines of what a call enters."""

from __future__ import annotations

import importlib.util

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


def test_an_edit_is_read_in_few_files():
    found = reading.reading("rome")
    # a weight may be quantized: that is one file and a few lines more
    # (6 files); so are facts as they come, normalized texts, and bars
    # and layers without an MLP, a head of several layers and positions that begin late, which a
    # family that was recognized may have (11 statements)
    # weights that change, and text for any width, are two files more
    assert found.files <= 30 and found.statements <= 680 and found.lines <= 1280
