"""The rows of JSON and JSONL files, plain or packed by gzip; what a row means is decided elsewhere.

`rows` gives the rows one after another. `places` also says where each row of a JSONL file begins,
so that single rows of a file with a million of them can be read again by `row_at`.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import FactError
from .facts import quoted


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The file's bytes, unpacked where it is gzip; every error of reading becomes a FactError."""
    try:
        with path.open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            # by the content, not by the name: servers and browsers unpack and keep the ".gz"
            yield cast(io.BufferedReader, gzip.GzipFile(fileobj=file)) if packed else file
    except FactError:
        raise
    except FileNotFoundError:
        raise FactError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise FactError(f"{path} is not text in UTF-8, so neither JSON nor JSONL") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise FactError(f"{path} is a damaged or incomplete gzip file") from None
    except OSError as error:
        raise FactError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a path with a zero byte in it
        raise FactError(f"{str(path)!r} cannot be read: {error}") from None


def rows(path: Path, known: Callable[[dict], Any]) -> Generator[Any, None, None]:
    """The rows of a file; `known(object)` says whether the first line's object is a row.

    JSON (a list, an object that holds one, or one row) is loaded whole. JSONL is read row by row.
    """
    with opened(path) as raw:
        _refuse_binary(raw, path)
        file = io.TextIOWrapper(raw, encoding="utf-8-sig")
        first = next((line for line in file if line.strip()), "")
        _refuse_other(first, path)
        try:
            value = json.loads(first)
        except (ValueError, RecursionError):  # no row by itself: the file is one JSON value
            value = _parse(first + file.read(), str(path))
        if isinstance(value, list):
            yield from value
        elif known(value):  # JSONL, or a single row
            yield value
            lines = (line for line in file if line.strip())
            for number, line in enumerate(lines, 1):
                yield _parse(line, f"{path}, row {number}")
        elif any(line.strip() for line in file):
            yield value  # the first of several rows, of no known format: the caller says so
        else:
            yield from _held(value)


def places(path: Path) -> Generator[tuple[int, Any], None, None]:
    """(byte where it begins in the unpacked file, row) for each row of a JSONL file.

    Other JSON is refused, because to find where the rows of a list begin all of it would have to be
    read.
    """
    with opened(path) as file:
        _refuse_binary(file, path)
        # before the first "line" is read, which may be the whole of a large list
        if (start := file.peek(4096).removeprefix(codecs.BOM_UTF8).lstrip()).startswith(b"["):
            _refuse_whole(start, path)
        at, number = 0, 0  # the byte where the line begins, and the number of its row
        for line in file:
            text = line.removeprefix(codecs.BOM_UTF8) if at == 0 else line
            if text.strip():
                if number == 0:
                    _refuse_whole(text, path)
                yield at + len(line) - len(text), _parse(text.decode(), f"{path}, row {number}")
                number += 1
            at += len(line)
        if not number:
            raise FactError(f"{path} is empty")


def _refuse_whole(line: bytes, path: Path) -> None:
    """FactError where the first line of a file is not the first row of JSONL."""
    _refuse_other(line.decode("utf-8", "replace"), path)
    if line.lstrip().startswith(b"[") or line.strip() == b"{":
        raise FactError(
            f"{path} is one JSON value: read it without lazy=True, or write it as JSONL, one row "
            "on each line"
        )


def row_at(file: BinaryIO, begin: int) -> Any:
    """The row of a JSONL file that begins at byte `begin`."""
    file.seek(begin)
    return json.loads(file.readline())


def _refuse_binary(file: Any, path: Path) -> None:
    """FactError for a file with zero bytes near its start."""
    if b"\0" in file.peek(4096):  # before a "line" of a huge binary file is read
        raise FactError(f"{path} is a binary file, not JSON or JSONL")


def _refuse_other(first: str, path: Path) -> None:
    """FactError for a file whose first line with text begins neither a list nor an object."""
    if not first.strip():
        raise FactError(f"{path} is empty")
    if first.lstrip()[0] not in "[{":
        start = quoted(first.strip()[:30])
        raise FactError(f"{path} is not JSON or JSONL: it begins with {start}")


def _held(value: dict) -> list:
    """The one list of rows that a JSON object holds, otherwise the object as the only row."""
    lists = [v for v in value.values() if isinstance(v, list) and all(type(r) is dict for r in v)]
    return lists[0] if len(lists) == 1 else [value]


def _parse(text: str, place: str) -> Any:
    """The JSON value of a text; FactError, which names its place, where it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise FactError(f"{place} is not a data file: its JSON is nested too deeply") from None
    except ValueError as error:
        raise FactError(f"{place} is not valid JSON: {error}") from None
