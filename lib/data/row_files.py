"""The rows of data files: JSON, JSONL, tables as CSV or TSV, also packed by gzip, and parquet.

What a row means is decided in `formats`. Every failure is a FactError of one sentence.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd

from ..errors import EXPECTED, FactError, sentence
from .facts import quoted

GZIP, PARQUET, BOM = b"\x1f\x8b", b"PAR1", b"\xef\xbb\xbf"  # what files begin with
_OTHERS = (  # (what files of other kinds begin with, what they are and what to do)
    (rb"version https://git-lfs", "a pointer of git-lfs and not the file: run `git lfs pull`"),
    (rb"\s*(?i:<(!doctype|html|head|body))", "a web page: download the file itself (“raw”)"),
    (rb"\s*<", "XML: write the rows as JSONL or CSV"),
    (rb"\s*(#{1,6} |```|\|.*\|\s*\n\s*\|[-:| ]+\n)", "Markdown: write the rows as JSONL or CSV"),
    (rb"PK\x03\x04.{26}(\[Content|xl/|_rels)", "an Excel workbook: save its sheet as CSV (UTF-8)"),
    (rb"\xd0\xcf\x11\xe0", "an old Excel workbook: save its sheet as CSV (UTF-8)"),
    (rb"PK|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", "an archive: unpack it"),
    (rb"\xff\xfe|\xfe\xff|.?\0[^\0]\0[^\0]|[^\0]\0[^\0]\0", "text in UTF-16: save it as UTF-8"),
    (rb"\x80[\2-\5]", "pickled Python objects, which could run code: write the rows as JSONL"),
    (rb"SQLite format 3", "an SQLite database: write its rows as JSONL or CSV"),
    (rb'\s*"\s*[\[{]', "one JSON string: write the rows in it as JSON"),
    (rb"%PDF", "a PDF document: write the facts as JSONL or CSV"),
    (rb"ARROW1", "an Arrow file: write it as parquet or JSONL"),
    (rb"[^\0]*\0", "a binary file: write the rows as JSONL or CSV"),
)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """In the body every error of reading the file becomes a FactError."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise FactError(f"{path} cannot be read as a data file: it is no plain file")
        yield
    except FactError:
        raise
    except FileNotFoundError:
        raise FactError(f"there is no file {path}") from None
    except EXPECTED as error:
        raise FactError(f"{path} cannot be read as a data file: {sentence(error)}") from None


def rows(path: Path, known: Callable[[dict], Any]) -> Generator[Any, None, None]:
    """The rows of a file; JSONL is read one row after another, everything else as a whole.

    known  whether an object is a row: a file of one object may hold one row, or a list of them
    """
    with readable(path), _opened(path) as file:
        begin = file.read(4096)
        file.seek(0)
        if begin.startswith(PARQUET):
            yield from map(plain, _parquet(path))
            return
        for pattern, what in _OTHERS:
            if re.match(pattern, begin, re.S):
                raise FactError(f"{path} is {what}")
        found = _lines(file)
        first = next(found, None)
        if first is None:
            raise FactError(f"{path} is empty")
        if not first.lstrip().startswith((b"[", b"{")):
            file.seek(0)
            yield from _table(path, file)
            return
        second = next(found, None)
        if second is not None and _is_object(first):
            for number, line in enumerate(chain([first, second], found)):
                yield parsed(line, path, number)
            return
        file.seek(0)
        value = json.loads(file.read().removeprefix(BOM))
    if isinstance(value, list):
        yield from value
    else:
        yield from [value] if known(value) else _held(value)


def parsed(line: bytes, path: Path, number: int) -> Any:
    """The JSON value of a line; FactError, which names the row, where it is none."""
    try:
        return json.loads(line)
    except EXPECTED as error:
        raise FactError(f"{path}, row {number}: {sentence(error)}") from None


def plain(value: Any) -> Any:
    """A value of a table as JSON would hold it: lists for arrays, dictionaries, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # an array or a number of numpy
        return plain(value.tolist())
    return None if pd.isna(value) else value  # a table has missing values of several kinds


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where it is gzip.

    The content says so and not the name: servers and browsers unpack and keep the ".gz".
    """
    with path.open("rb") as file:
        packed = file.peek(2)[:2] == GZIP
        yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines with text, the first without a byte order mark."""
    for number, line in enumerate(file):
        line = line.removeprefix(BOM) if number == 0 else line
        if line.strip():
            yield line


def _is_object(line: bytes) -> bool:
    """Whether a line is a JSON object by itself, as each of JSONL is."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _held(value: dict) -> list:
    """The one list of rows that a JSON object holds, otherwise the object as the only row."""
    lists = [v for v in value.values() if isinstance(v, list) and all(type(r) is dict for r in v)]
    return lists[0] if len(lists) == 1 else [value]


def _table(path: Path, file: IO[bytes]) -> Iterator[dict]:
    """The rows of a table whose first line names its columns; an empty cell is no value."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    head = next(line for line in text if line.strip())
    part = max(",;\t|", key=head.count)
    table = csv.DictReader(chain([head], text), delimiter=part, strict=True)
    name, most = Counter(cell.strip() for cell in table.fieldnames or ()).most_common(1)[0]
    if most > 1:
        raise FactError(f"{path} has several columns with the name {quoted(name)}")
    if part not in head:
        raise FactError(f"{path} is not JSON or JSONL, and no table: its first line has one column")
    for row in table:
        if row.pop(None, None):
            raise FactError(
                f"{path}, line {table.line_num}: more cells than columns; a text that holds "
                f"{part!r} stands in quotation marks"
            )
        yield {name.strip(): cell or None for name, cell in row.items()}


def _parquet(path: Path) -> list[dict]:
    """The rows of a parquet file."""
    try:
        return pd.read_parquet(path).to_dict("records")
    except ImportError:
        raise FactError(
            f"{path} is a parquet file, and pyarrow is not installed to read it: install it, or "
            "write the rows as JSONL"
        ) from None
    except (LookupError, TypeError) as error:
        raise FactError(f"{path} cannot be read as parquet: {error}") from None
