"""The rows of data files: JSON, JSONL, tables as CSV or TSV, also packed by gzip, and parquet.

What a row means is decided in `formats`. Every failure is a FactError of one sentence.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import EXPECTED, FactError, sentence
from .facts import quoted

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # what files begin with
_OTHERS = (  # (what files of other kinds begin with, what they are and what to do)
    (rb"version https://git-lfs", "a pointer of git-lfs and not the file: run `git lfs pull`"),
    (rb"\s*<", "a web page or XML: download the file itself (“raw”), or write the rows as JSONL"),
    (rb"PK\x03\x04.{26}(\[Content|xl/|_rels)", "an Excel workbook: save its sheet as CSV (UTF-8)"),
    (rb"PK|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", "an archive: unpack it"),
    (rb"\xff\xfe|\xfe\xff|.?\0[^\0]\0[^\0]|[^\0]\0[^\0]\0", "text in UTF-16: save it as UTF-8"),
    (rb"[^\0]*\0|%PDF|\x80[\2-\5]", "a binary file: write the rows as JSONL or CSV"),
)


def rows(path: Path, known: Callable[[dict], Any]) -> Iterator[Any]:
    """The rows of a file; each line of JSONL is parsed when its row is asked for.

    known  whether an object is a row: a file of one object may hold one row, or a list of them
    """
    try:
        yield from _rows(path, known)
    except FactError:
        raise
    except FileNotFoundError:
        raise FactError(f"there is no file {path}") from None
    except EXPECTED as error:
        raise FactError(f"{path} cannot be read as a data file: {sentence(error)}") from None


def _rows(path: Path, known: Callable[[dict], Any]) -> Iterator[Any]:
    """The rows of a file; errors of the readers below are as they are."""
    data = path.read_bytes()
    # the content says so and not the name: servers and browsers unpack and keep the ".gz"
    data = gzip.decompress(data) if data.startswith(GZIP) else data
    if data.startswith(PARQUET):
        return map(plain, _parquet(path, data))
    for pattern, what in _OTHERS:
        if re.match(pattern, data[:4096], re.S):
            raise FactError(f"{path} is {what}")
    text = data.decode("utf-8-sig").strip("\r\n ")
    begin = text.lstrip()[:1]
    if not begin:
        raise FactError(f"{path} is empty")
    if begin not in "[{":
        return map(plain, _table(path, text))
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and _is_object(lines[0]):
        return (_parsed(line, path, number) for number, line in enumerate(lines))
    value = json.loads(text)
    if isinstance(value, list):
        return iter(value)
    return iter([value] if known(value) else _held(value))


def plain(value: Any) -> Any:
    """A value of a table as JSON would hold it: lists for arrays, dictionaries, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # an array or a number of numpy
        return plain(value.tolist())
    return None if pd.isna(value) else value  # a table has missing values of several kinds


def _parsed(line: str, path: Path, number: int) -> Any:
    """The JSON value of a line; FactError, which names the row, where it is none."""
    try:
        return json.loads(line)
    except EXPECTED as error:
        raise FactError(f"{path}, row {number}: {sentence(error)}") from None


def _is_object(line: str) -> bool:
    """Whether a line is a JSON object by itself, as each of JSONL is."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _held(value: dict) -> list:
    """The one list of rows that a JSON object holds, otherwise the object as the only row."""
    lists = [v for v in value.values() if isinstance(v, list) and all(type(r) is dict for r in v)]
    return lists[0] if len(lists) == 1 else [value]


def _table(path: Path, text: str) -> list[dict]:
    """The rows of a table whose first line names its columns; an empty cell is no value."""
    table = pd.read_csv(
        io.StringIO(text, newline=None),  # whatever ends a line
        sep=max(",;\t|", key=text.splitlines()[0].count),
        header=None,  # the first line is as strict as the others: no name twice, no cell too many
        dtype=str,  # by itself pandas makes 7 of "007"
        keep_default_na=False,  # and nothing of Namibia, "NA"
        engine="python",  # the other one reads on over a quote that is not closed
    )
    names = table.iloc[0].str.strip()
    if len(names) == 1:
        raise FactError(f"{path} is not JSON or JSONL, and no table: its first line has one column")
    if names.duplicated().any():
        twice = quoted(names[names.duplicated()].iloc[0])
        raise FactError(f"{path} has several columns with the name {twice}")
    return table[1:].set_axis(names, axis=1).replace("", None).to_dict("records")


def _parquet(path: Path, data: bytes) -> list[dict]:
    """The rows of a parquet file."""
    try:
        return pd.read_parquet(io.BytesIO(data)).to_dict("records")
    except ImportError:
        raise FactError(
            f"{path} is a parquet file, and pyarrow is not installed to read it: install it, or "
            "write the rows as JSONL"
        ) from None
    except Exception as error:  # of a damaged file Arrow raises errors of many kinds
        raise FactError(f"{path} cannot be read as parquet: {sentence(error)}") from None
