"""Cells of tables with several texts: what is a list, what is one text, and that it is said."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

import lib
from lib.data.readers import read_cases
from lib.errors import FactError

GARDA = {"subject": "Lake Garda", "prompt": "{} lies in", "target_new": "Peru"}
TWO = ("Lake Garda is in", "One finds Lake Garda in")


def read(cell, key="paraphrases"):
    """What the cell gives, and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        (case,) = read_cases([{**GARDA, key: cell}])
    return getattr(case, key), [str(one.message) for one in said]


PRINTED = [
    json.dumps(TWO),
    str(list(TWO)),
    str(TWO),
    str(np.array([*TWO, *["It's in"] * 9], object)[:2]),
    "['Lake Garda is in'\n \"One finds Lake Garda in\"]",
]


@pytest.mark.parametrize("cell", PRINTED)
def test_a_list_in_brackets_is_a_list_without_a_word(cell):
    assert read(cell) == (TWO, [])


@pytest.mark.parametrize(
    ("key", "cell"),
    [
        ("paraphrases", ";".join(TWO)),
        ("paraphrases", "In the north; Lake Garda lies in"),
        ("paraphrases", "\r\n".join(TWO)),
        ("locality", "The value of |x| is"),
        ("locality", "Q: Who wrote Hamlet?\nA:"),
    ],
)
def test_a_text_that_may_be_several_is_refused_unless_it_is_a_list(key, cell):
    with pytest.raises(FactError, match="row 0: .* may be one text or several: write it as a JSON"):
        read(cell, key)
    assert read(json.dumps([cell]), key) == ((lib.Fact(None, cell, "x").prompt,), [])


@pytest.mark.parametrize("cell", ["[Verse 1] Lake Garda is", "[X] is in", "Is it 'in' or [out]?"])
def test_brackets_may_stand_in_a_text(cell):
    assert read(cell) == ((cell.replace("[X]", "Lake Garda"),), [])


@pytest.mark.parametrize(
    "cell",
    ["['A is', 'B is", "[A is, B is]", "['A', nan]", "[NaN]", "['a' * 10**9]", "[1e999999999]",
     "[" + "9" * 10**4 + "]", "[" * 10**5, "[" * 5000 + "]" * 5000, '[{"a":' * 3000 + "1",
     '["\\ud800 is"]', "\ud800;\ud800", "['a\0b']", "[['a']]", "['a'],['b']", 5, 10**9, True,
     {"a": 1}, "[null]", " "],
)  # fmt: skip
def test_a_damaged_cell_is_one_sentence(cell):
    with pytest.raises(FactError, match="row 0: ") as refused:
        read(cell)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 800
    str(refused.value).encode()


@pytest.mark.parametrize("cell", [None, float("nan"), pd.NA, "[]", []])
def test_an_empty_cell_is_no_text(cell):
    assert read(cell) == ((), [])
