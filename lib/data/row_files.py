"""The rows of data files: JSON, JSONL, tables as CSV or TSV, also in gzip, and parquet.

For the meaning of a row, see `formats`. Every failure is a FactError with a short message.
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

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # first bytes of files
_OTHERS = (  # (beginning of other kinds of files, their kind and what to do)
    (rb"version https://git-lfs", "a git-lfs pointer, not the file. Run `git lfs pull`."),
    (rb"\s*<", "a web page or XML. Download the file itself (“raw”), or write the rows as JSONL."),
    (rb"PK\x03\x04.{26}(\[Content|xl/|_rels)", "an Excel workbook. Save its sheet as CSV (UTF-8)."),
    (rb"PK|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", "an archive. Unpack it."),
    (rb"\xff\xfe|\xfe\xff|.?\0[^\0]\0[^\0]|[^\0]\0[^\0]\0", "text in UTF-16. Save it as UTF-8."),
    (rb"[^\0]*\0|%PDF|\x80[\2-\5]", "a binary file. Write the rows as JSONL or CSV."),
)


def rows(path: Path, known: Callable[[dict], Any]) -> Iterator[Any]:
    """Yield the rows of a file; each line of JSONL is parsed when its row is needed.

    known  whether an object is a row: a file consisting of one object may contain one row, or a
           list of them
    """
    try:
        yield from _rows(path, known)
    except FactError:
        raise
    except FileNotFoundError:
        raise FactError(f"There is no file {path}. Check the path.") from None
    except EXPECTED as error:
        raise FactError(f"{path} cannot be read as a data file: {sentence(error)}") from None


def _rows(path: Path, known: Callable[[dict], Any]) -> Iterator[Any]:
    """Return the rows of a file, passing on errors from the underlying readers."""
    data = path.read_bytes()
    # decided by content, not name: servers and browsers decompress and keep the ".gz"
    data = gzip.decompress(data) if data.startswith(GZIP) else data
    if data.startswith(PARQUET):
        return map(plain, _parquet(path, data))
    for pattern, what in _OTHERS:
        if re.match(pattern, data[:4096], re.S):
            raise FactError(f"{path} is {what}")
    text = data.decode("utf-8-sig").strip("\r\n ")
    begin = text.lstrip()[:1]
    if not begin:
        raise FactError(f"{path} is empty.")
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
    """Return a table's value as stored in JSON: lists for arrays, dictionaries, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # a numpy array or number
        return plain(value.tolist())
    return None if pd.isna(value) else value  # a table has several kinds of missing values


def _parsed(line: str, path: Path, number: int) -> Any:
    """Return the JSON value of a line; FactError names the row if it is not JSON."""
    try:
        return json.loads(line)
    except EXPECTED as error:
        raise FactError(f"{path}, row {number}: {sentence(error)}") from None


def _is_object(line: str) -> bool:
    """Return whether a line is a JSON object by itself, like each line of JSONL."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _held(value: dict) -> list:
    """Return the only list of rows in a JSON object, otherwise the object as the only row."""
    lists = [v for v in value.values() if isinstance(v, list) and all(type(r) is dict for r in v)]
    return lists[0] if len(lists) == 1 else [value]


def _table(path: Path, text: str) -> list[dict]:
    """Return a table's rows, using its first line as column names; empty cells are missing."""
    table = pd.read_csv(
        io.StringIO(text, newline=None),  # any line ending
        sep=max(",;\t|", key=text.splitlines()[0].count),
        header=None,  # as strict as for other lines: no repeated name, no extra cell
        dtype=str,  # by default pandas turns "007" into 7
        keep_default_na=False,  # and Namibia, "NA", into nothing
        engine="python",  # the other engine reads past an unclosed quote
    )
    names = table.iloc[0].str.strip()
    if len(names) == 1:
        raise FactError(f"{path} is not JSON, JSONL or a table. Its first line has one column.")
    if names.duplicated().any():
        twice = quoted(names[names.duplicated()].iloc[0])
        raise FactError(f"{path} has several columns named {twice}. Rename or remove them.")
    return table[1:].set_axis(names, axis=1).replace("", None).to_dict("records")


def _parquet(path: Path, data: bytes) -> list[dict]:
    """Return the rows of a parquet file."""
    try:
        return pd.read_parquet(io.BytesIO(data)).to_dict("records")
    except ImportError:
        raise FactError(
            f"{path} is a parquet file, but pyarrow is not installed. Install it, or write the "
            "rows as JSONL."
        ) from None
    except Exception as error:  # for a damaged file, Arrow raises many kinds of errors
        raise FactError(f"{path} cannot be read as parquet: {sentence(error)}") from None
