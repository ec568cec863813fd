"""Today's code does what tests/reference/current says, so a figure may name these files."""

from __future__ import annotations

import pytest

import lib

from ..reference import current
from ..support.usual import few

# a memory, which takes seconds; the others and all of the metrics are slow
USUAL = ("grace",)
WRITTEN = [name for name in current.NAMES if current.path(name).exists()]


@pytest.mark.filterwarnings("ignore::lib.errors.EditWarning")
@pytest.mark.parametrize("name", few(WRITTEN, USUAL, drawn=1))
def test_the_code_does_what_its_reference_says(default_lm, name):
    now = current.made(default_lm, name)
    assert not current.differences(now, current.stored(name), name)


def test_two_cases_one_of_them_told_have_the_rows_of_the_reference(default_lm):
    now, then = current.evaluated(default_lm, 2), current.stored(current.METRICS)
    then["rows"] = [row for row in then["rows"] if row[0] < 2]
    assert len(then["rows"]) > 60 and not current.differences(now, then)


def test_every_editor_has_a_small_file_of_todays_preset_without_matrices():
    assert not current.of_other_settings()
    assert {file.stem for file in current.FOLDER.glob("*.json")} == {*WRITTEN}
    assert {*WRITTEN} == {*current.NAMES}
    for name in WRITTEN:
        assert current.path(name).stat().st_size < 400_000, name


def test_what_differs_is_named():
    then = {"norm": 2.0, "projections": [1.0, 2.0], "said": "Rome"}
    near = {"norm": 2.0, "projections": [1.0, 2.0001], "said": "Rome"}
    assert not current.differences(near, then)
    far = {"norm": 2.0, "projections": [1.0, 2.02], "said": "Paris"}
    assert current.differences(far, then) == [
        "/projections/1 is 2.02, not 2",
        "/said is 'Paris', not 'Rome'",
    ]
    assert current.differences({"norm": float("nan")}, {"norm": 1.0})
    assert current.differences({}, then)


def test_the_resolved_preset_is_that_of_the_loaded_model(default_lm):
    for editor in lib.EDITORS:
        preset = lib.EDITORS[editor].Config.preset(default_lm, editor, preset="ours")
        assert current.asdict(preset) == current.settings(editor), editor
