"""The rows of JSON and JSONL files, plain or packed by gzip; what a row means is decided elsewhere.

`rows` gives the rows one after another. `places` also says where each begins, so that single rows
of a file with a million of them can be read again by `row_at`, from a JSON list too.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FactError
from .facts import quoted

_BLOCK = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")  # stands between two elements of a list
_DECODER = json.JSONDecoder()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where it is gzip; every error of reading becomes a FactError."""
    try:
        with path.open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            # by the content, not by the name: servers and browsers unpack and keep the ".gz"
            yield gzip.GzipFile(fileobj=file) if packed else file
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


def rows(path: Path, known: Callable[[dict], Any]) -> Iterator[Any]:
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


def places(path: Path) -> Iterator[tuple[int, Any]]:
    """(byte where it begins in the unpacked file, row) for each row of JSONL or of a JSON list.

    The file is never held whole. An object around the list is refused, because its end would have
    to be found first.
    """
    with opened(path) as file:
        _refuse_binary(file, path)
        head, at = file.read(len(codecs.BOM_UTF8)), 0
        if head == codecs.BOM_UTF8:
            at, head = len(head), b""
        # skip white space; `at` is the byte where `head` begins
        while not head.strip() and (more := file.read(4096)):
            at, head = at + len(head), more
        head += file.read(64)  # enough to say what the file begins with
        _refuse_other(head.decode("utf-8", "replace"), path)
        at += len(head) - len(head.lstrip())
        file.seek(at)
        if file.read(1) == b"[":
            yield from _in_list(file, path, at)
        else:
            yield from _in_lines(file, path, at)


def _in_lines(file: BinaryIO, path: Path, at: int) -> Iterator[tuple[int, Any]]:
    """(byte, row) of the lines from byte `at` on."""
    file.seek(at)
    number = 0
    for line in file:
        if line.strip():
            try:
                yield at, _parse(line.decode(), f"{path}, row {number}")
            except FactError:
                if line.strip() == b"{":  # the first line of an object over several lines
                    raise FactError(
                        f"{path} is one JSON object; read it without lazy=True, or as JSONL"
                    ) from None
                raise
            number += 1
        at += len(line)


def _in_list(file: BinaryIO, path: Path, at: int) -> Iterator[tuple[int, Any]]:
    """(byte, row) of the elements of the list that begins at byte `at`, each once it is whole.

    text[start:] is read from the file and not yet decoded, and `at` is the byte where it begins.
    """
    utf8 = codecs.getincrementaldecoder("utf-8")()
    text, start, number, at = "", 0, 0, at + 1
    while True:
        # white space and the comma before the next element, or the end of the list
        begin = _BETWEEN.match(text, start).end()
        if text[begin : begin + 1] == "]":
            return
        try:
            value, end = _DECODER.raw_decode(text, begin)
        except RecursionError:
            raise FactError(
                f"{path}, row {number} is not a data file: its JSON is nested too deeply"
            ) from None
        except ValueError as error:
            # the element is not whole yet: one more block of the file, then again from its start
            block = file.read(_BLOCK)
            if not block:
                raise FactError(f"{path}, row {number} is not valid JSON: {error}") from None
            text, start = text[start:] + utf8.decode(block), 0
            continue
        # places are bytes and the text is characters, so its length is counted in UTF-8
        at += len(text[start:begin].encode())
        yield at, value
        at, start, number = at + len(text[begin:end].encode()), end, number + 1


def row_at(file: BinaryIO, begin: int, end: int | None) -> Any:
    """The row that begins at byte `begin`; it ends before byte `end`, which None leaves open."""
    file.seek(begin)
    text, utf8 = "", codecs.getincrementaldecoder("utf-8")()
    while True:
        block = file.read(_BLOCK if end is None else end - begin)
        text += utf8.decode(block)
        try:
            return _DECODER.raw_decode(text)[0]
        except ValueError:
            if end is not None or not block:
                raise


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
