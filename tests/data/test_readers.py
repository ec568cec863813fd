"""Files of every kind, cases read when asked for, and damage: the same cases or a sentence."""

from __future__ import annotations

import gzip
import json
import random
import warnings

import numpy as np
import pandas as pd
import pytest

from lib.data.facts import Fact
from lib.data.readers import read_cases
from lib.errors import DataWarning, FactError

from ..support.data_files import CLASSROOM, FILES, FLAT, places
from ..support.published_rows import ROWS

ULTRA_ZSRE = [{"subject": "Bath", "src": "Where is Bath?", "rephrase": "Bath is where?",
               "ans": "Somerset", "loc": "nq question: who", "loc_ans": "she"}]  # fmt: skip


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def read(given, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return list(read_cases(given, **options))


def test_ultraedits_copy_of_zsre_teaches_its_one_answer(write):
    for target in ("new", "true"):
        (case,) = read_cases(write(ULTRA_ZSRE), target=target, unrelated_suffix="?")
        assert case.fact == Fact("Bath", "Where is {}?", "Somerset")
        assert case.locality == ("nq question: who?",)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "alt": "b", "equiv_prompt": [], "unrel_prompt": "c"},  # FEVER, cut off
        {"question": "a", "para_question": "b", "answer": "c", "sub_question": []},  # UnKE
    ],
)
def test_a_format_that_is_not_read_is_one_sentence(row):
    with pytest.raises(FactError, match="Known formats are|closest format is") as refused:
        read_cases([row])
    assert "\n" not in str(refused.value)


# ---- the kinds of files ------------------------------------------------------------------------


def as_arrays(value):
    """The row as pandas gives it: an array for every list, its own numbers, NaN for None."""
    if isinstance(value, dict):
        return {key: as_arrays(inner) for key, inner in value.items()}
    if isinstance(value, list):
        array = np.empty(len(value), object)
        array[:] = [as_arrays(inner) for inner in value]
        return array
    if type(value) is int:
        return np.int64(value)
    return float("nan") if value is None else value


@pytest.mark.parametrize("name", ROWS)
def test_every_kind_of_file_gives_the_same_cases(name, write, tmp_path):
    rows = [row for row in ROWS[name] if row.keys() == ROWS[name][0].keys()]
    expected = read(write(rows))
    for text in (json.dumps(rows), json.dumps({"data": rows}, indent=1), lines(rows)):
        for content in (text.encode(), b"\xef\xbb\xbf\n \r\n" + text.encode()):
            assert read(write(content)) == expected
            assert read(write(gzip.compress(content), "data.json.gz")) == expected
    assert read(map(as_arrays, rows)) == expected
    assert read(iter(rows), limit=1) == expected[:1]
    pd.DataFrame(rows).to_parquet(tmp_path / "data.parquet")
    assert read(tmp_path / "data.parquet") == expected
    assert read(tmp_path / "data.parquet", limit=1) == expected[:1]


def test_rows_have_no_source():
    rows = ROWS["MQuAKE"]
    assert type(read_cases(rows)) is list and read_cases(iter(rows), limit=0) == []
    with pytest.raises(FactError, match="row 0: A row should be an object"):
        read_cases({"train": [], "test": []})  # a dataset with its parts


# ---- damage ------------------------------------------------------------------------------------


def refused(given, **options) -> str | None:
    """The sentence with which a file is refused; None where it is read."""
    try:
        read(given, **options)
    except FactError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 800
        str(error).encode()
        return str(error)
    return None


def test_files_that_are_no_data_files_are_one_sentence(write, tmp_path):
    whole = json.dumps(FLAT)
    packed = gzip.compress(lines(FLAT * 3000).encode())
    flipped = packed[: len(packed) // 2] + bytes(40) + packed[len(packed) // 2 + 40 :]
    for content, words in {
        "": "is empty",
        " \n ": "is empty",
        "hello": "is not JSON, JSONL",
        b"\0\0": "is a binary file",
        b"PAR1 and no more": "cannot be read",
        b'{"a": "\xe9"}': "UTF-8",
        '{"a":' * 200_000: "nested too deeply",
        whole[:-9]: "not valid JSON",
        whole + "\nx": "not valid JSON",
        whole + "\n\n[]": "not valid JSON",
        lines(FLAT) + "\n]": "row 2",
        lines(FLAT)[:-9]: "row 1: A file is not valid JSON",
        '{"data": []}': "contains no rows",
        "[3]": "row 0: A row should be an object",
        '[{"x": 1}]': "any known format",
        packed[: len(packed) // 2]: "damaged or ends too early",
        packed[:12]: "damaged or ends too early",
        flipped: "cannot be read|row",
    }.items():
        said = refused(write(content))
        assert said is not None, content[:40]
        assert any(word in said for word in words.split("|")), said
    assert "There is no file" in refused(tmp_path / "none.json")
    assert "cannot be read" in refused(tmp_path)  # a folder


@pytest.mark.parametrize("name", FILES)
def test_files_cut_anywhere_and_flipped_bytes_are_one_sentence_or_fewer_rows(write, name):
    draw, count = random.Random(name), 0
    for _ in range(60):
        content = bytearray(lines(FILES[name]).encode())
        if draw.random() < 0.5:
            content = content[: draw.randrange(len(content))]
        else:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        count += refused(write(bytes(content))) is not None
    assert count > 10


@pytest.mark.parametrize("name", ROWS)
def test_damaged_rows_are_read_or_refused_by_row(name):
    rows, count = ROWS[name][:2], 0
    for path in places(rows[-1]):
        for value in ("missing", "", None, 3, ["x", 3], {"x": 1}, "\ud800", float("nan"), 10**400):
            damaged = json.loads(json.dumps([rows[0], rows[-1]]))
            inner = damaged[1]
            for key in path[:-1]:
                inner = inner[key]
            if value == "missing":
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            said = refused(damaged)
            if said is not None:
                count += 1
                assert said.startswith("the rows given, row 1: ") and f"(Read as {name}.)" in said
    assert count > 5


@pytest.mark.parametrize("kind", ["csv", "parquet", "gzip"])
def test_tables_and_packed_files_with_other_bytes_are_one_sentence_or_other_rows(tmp_path, kind):
    frame, path, draw = pd.DataFrame(CLASSROOM * 20), tmp_path / "data", random.Random(kind)
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, compression="gzip" if kind == "gzip" else None)
    whole, count = path.read_bytes(), 0
    for _ in range(60):
        content = bytearray(whole)
        content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(
            content[: draw.randrange(len(content))] if draw.random() < 0.5 else content
        )
        count += refused(path) is not None
    assert count > 5


def test_a_row_that_almost_fits_names_the_nearest_format_and_what_is_missing():
    row = {key: value for key, value in ROWS["KnowEdit ZsRE"][0].items() if key != "subject"}
    assert refused([row]) == (
        "the rows given, row 0: key 'subject' is missing. The closest format is KnowEdit ZsRE."
    )
    row = {**ROWS["KnowEdit"][0], "portability": {"Reasoning": [{"prompt": "a"}]}}
    assert refused([ROWS["KnowEdit"][0], row]) == (
        "the rows given, row 1: Key 'ground_truth' is missing. (Read as KnowEdit.)"
    )
