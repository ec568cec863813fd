"""Cells of tables with several texts: what is a list, what is one text, and that it is said."""

from __future__ import annotations

import json
import time
import warnings

import numpy as np
import pandas as pd
import pytest

import lib
from lib.data.readers import read_cases
from lib.errors import DataWarning, FactError

from ..support.data_files import ZSRE

GARDA = {"subject": "Lake Garda", "prompt": "{} lies in", "target_new": "Peru"}
TWO = ("Lake Garda is in", "One finds Lake Garda in")


def read(cell, key="paraphrases"):
    """What the cell gives, and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        (case,) = read_cases([{**GARDA, key: cell}])
    return getattr(case, key), [str(one.message) for one in said]


@pytest.mark.parametrize(
    ("cell", "by"),
    [
        (";".join(TWO), "';'"),
        ("; ".join(TWO) + ";", "';'"),
        (" | ".join(TWO), "'|'"),
        ("||".join(TWO), "'|'"),
        ("\r\n".join(TWO), "line breaks"),
        ("\n\n".join(TWO) + "\n", "line breaks"),
        ("{} is in;One finds [X] in", "';'"),
    ],
)
def test_parts_that_name_the_subject_are_a_list_and_that_is_said_once(cell, by, tmp_path):
    assert read(cell)[0] == TWO
    rows = [{**GARDA, "paraphrases": cell}] * 12 + [{**GARDA, "paraphrases": TWO[0]}]
    path = tmp_path / "facts.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    for given in (path, rows, pd.DataFrame(rows)):
        with pytest.warns(DataWarning) as warned:
            cases = read_cases(given)
        said = [one for one in warned if one.category is DataWarning]
        assert {case.paraphrases for case in cases} == {TWO, TWO[:1]}
        assert len(said) == 1
        assert f"cells of 'paraphrases' were read as lists separated by {by} (12 rows)" in str(
            said[0].message
        )


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
        ("paraphrases", "In the north; Lake Garda lies in"),
        ("paraphrases", "It was born of ice; Lake Garda | deep"),
        ("paraphrases", "Q: Where is Lake Garda?\nA:"),
        ("paraphrases", "Caf&eacute;s at Lake Garda are"),
        ("locality", "Water boils at 100 degrees; ice melts at"),
        ("locality", "Q: Who wrote Hamlet?\nA:"),
        ("locality", "for(i=0;i<n;i++)"),
        ("locality", "The value of |x| is"),
        ("locality", ";;;"),
    ],
)
def test_a_text_that_holds_a_separator_stays_one_and_that_is_said(key, cell):
    found, said = read(cell, key)
    assert found == (cell,) and len(said) == 1 and "were read as one text each" in said[0]


@pytest.mark.parametrize("cell", ["[Verse 1] Lake Garda is", "[X] is in", "Is it 'in' or [out]?"])
def test_brackets_may_stand_in_a_text(cell):
    assert read(cell) == ((cell.replace("[X]", "Lake Garda"),), [])


@pytest.mark.parametrize(
    "cell", [f"Water boils at{by}The sun is a" for by in (";", "; ", "\n", "|", " || ")]
)
def test_texts_about_something_else_are_lists_too(cell):
    found, said = read(cell, "locality")
    assert found == ("Water boils at", "The sun is a") and len(said) == 1


def test_answers_and_aliases_are_lists_of_names():
    row = {**ZSRE[0], "answers": "uniform; uniforms"}
    with pytest.warns(DataWarning, match="'answers' were read as lists separated by ';'"):
        assert read_cases([row])[0].fact.target_true == "uniform"
    probe = {"prompt": "Nice is in", "target": "France", "aliases": "FR||République", "kind": None}
    found, said = read(json.dumps([probe]), "neighborhood")
    assert found == (lib.Probe("Nice is in", "France", ("FR", "République")),) and len(said) == 1


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


def test_cells_of_many_separators_take_no_time():
    begin = time.process_time()
    for cell in (";" * 10**6, "a;" * 10**6, "|" * 10**6, "Lake Garda is;" * 10**3):
        assert read(cell)[0]
    assert time.process_time() - begin < 10
