"""Rows that come from no JSON file: dictionaries from anywhere, and parquet files."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pandas as pd
import pytest

from lib.data.case_lists import Cases
from lib.data.readers import read_cases, read_facts
from lib.errors import FactError

from ..support.published_rows import ROWS


def read(rows, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keys that no case takes
        return list(read_cases(rows, **options))


def as_table(values: list) -> list:
    """The rows as a table gives them back: every key in every row, None where a row lacks it."""
    if not any(isinstance(value, dict) for value in values):
        return values
    keys = dict.fromkeys(key for value in values for key in value or ())
    columns = {key: as_table([(value or {}).get(key) for value in values]) for key in keys}
    return [{key: columns[key][i] for key in keys} for i in range(len(values))]


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
def test_rows_of_a_table_are_read_like_those_of_a_file(name, write):
    rows = [row for row in ROWS[name] if row.keys() == ROWS[name][0].keys()]
    expected = read(write(rows))
    for given in (tuple(rows), (row for row in rows), as_table(rows)):
        cases = read(given)
        assert cases == expected and type(cases) is list
    arrays = read([as_arrays(row) for row in as_table(rows)])
    assert arrays == expected and all(type(case.id) in (int, str) for case in arrays)
    assert read(map(types.MappingProxyType, rows), limit=1) == expected[:1]


def test_columns_that_only_some_rows_have(write):
    rows = ROWS["KnowEdit"]
    assert "ground_truth" not in rows[-1] and "ground_truth" in rows[0]
    table = as_table(rows)
    assert table[-1]["ground_truth"] is None and None in table[-1]["portability"].values()
    assert read(table) == read(rows) == read(write(rows))


def test_rows_have_no_source_and_no_places():
    rows = ROWS["QAEdit"]
    assert not isinstance(read_cases(rows), Cases) and read_cases(iter(rows), limit=0) == []
    with pytest.raises(FactError, match="lazy=True needs the path of a JSONL file"):
        read_cases(rows, lazy=True)
    taken = iter(rows * 3)
    assert len(read_cases(taken, limit=2)) == 2 and len(list(taken)) == 3 * len(rows) - 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train": [], "test": []}, "not an object with the keys 'train', 'test'"),
        (b"rows.json", "needs a path, or an iterable of rows, not a value of type bytes"),
        (3, "needs a path, or an iterable of rows, not '3'"),
        (None, "not 'null'"),
        ([], "the rows given holds no rows"),
        (["a"], "the rows given, row 0: a row should be an object with keys"),
        ([ROWS["QAEdit"][0], object()], "row 1: a row should be an object .*, not a value of type"),
        ([{1: "x", "y": {2}}], r"row 0: the keys \('1', 'y'\) are of no known format"),
        ([{**ROWS["QAEdit"][0], "subject": {2}}], "'subject' should be text, not a value of type"),
    ],
)
def test_what_is_no_row_is_one_sentence(given, words):
    with pytest.raises(FactError, match=words) as error:
        read_cases(given)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


class Batch(list):
    """A batch of pyarrow, as far as the reader uses it."""

    to_pylist = list.copy


class ParquetFile:
    """A parquet file of pyarrow, whose rows stand in a list."""

    rows: list = []

    def __init__(self, path) -> None:
        if b"damaged" in path.read_bytes():
            raise OSError("Couldn't deserialize thrift:\nno more data")

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass

    def iter_batches(self, size):
        yield from (Batch(self.rows[i : i + 2]) for i in range(0, len(self.rows), 2))


@pytest.mark.parametrize("by", ["pyarrow", "pandas"])
def test_parquet_is_read_by_what_is_installed(write, monkeypatch, by):
    rows = ROWS["KnowEdit ZsRE"]
    path = write(b"PAR1 rows PAR1", "rows.parquet")
    stub = types.ModuleType("pyarrow")
    monkeypatch.setattr(ParquetFile, "rows", as_table(rows))
    stub.parquet = types.SimpleNamespace(ParquetFile=ParquetFile)
    monkeypatch.setitem(sys.modules, "pyarrow", stub if by == "pyarrow" else None)

    def by_pandas(given):
        ParquetFile(given)
        return pd.DataFrame([as_arrays(row) for row in rows])

    monkeypatch.setattr(pd, "read_parquet", by_pandas)
    cases = read_cases(path)
    assert isinstance(cases, Cases) and cases == read(rows) and cases.rows(0, 2) == (0, 2)
    assert list(read_facts(path, 1, 3)) == [case.fact for case in cases[1:3]]
    with pytest.raises(FactError, match="is parquet, which lazy=True does not read"):
        read_cases(path, lazy=True)
    damaged = write(b"PAR1 damaged", "damaged.parquet")
    with pytest.raises(FactError, match="cannot be read as parquet: Couldn't .* thrift: no more"):
        read_cases(damaged)


def test_parquet_without_a_reader_says_what_to_install(write, monkeypatch):
    def missing(path):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(pd, "read_parquet", missing)
    path = write(b"PAR1", "rows.parquet")
    with pytest.raises(FactError, match="neither pyarrow nor fastparquet is installed") as error:
        read_cases(path)
    assert str(path) in str(error.value) and "JSONL" in str(error.value)


@pytest.mark.parametrize("name", ROWS)
def test_a_real_parquet_file(tmp_path, name):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    rows = [row for row in ROWS[name] if row.keys() == ROWS[name][0].keys()]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert read(path) == read(rows)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FactError, match="cannot be read as parquet"):
        read(path)
