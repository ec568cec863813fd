"""The rows of JSON and JSONL files, plain or packed by gzip; what a row means is decided elsewhere.

`rows` gives the rows one after another. `places` also says where each row of a JSONL file begins,
so that single rows of a file with a million of them can be read again by `row_at`.

What is read at once is bounded, also where a small packed file becomes a large one: a row of JSONL
has at most LONGEST_ROW bytes, and JSON that has to be loaded whole at most LONGEST_VALUE.
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

LONGEST_ROW = 16 * 2**20  # bytes of one row of JSONL, unpacked
LONGEST_VALUE = 2**30  # bytes of one JSON value that holds all rows, unpacked
BLANKS = b" \t\r\n"  # what JSON allows between values


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


def rows(
    path: Path, known: Callable[[dict], Any], *, quote: bool = True
) -> Generator[Any, None, None]:
    """The rows of a file; `known(object)` says whether the first line's object is a row.

    JSON (a list, an object that holds one, or one row) is loaded whole. JSONL is read row by row.
    `quote=False` keeps the file's content out of the errors.
    """
    with opened(path) as file:
        _begin(file, path, quote)
        first = file.readline(LONGEST_ROW + 1)
        try:
            value = json.loads(first.decode())
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError):  # no row by itself: the file is one JSON value
            value = _whole(first, file, path)
        if isinstance(value, list):
            # behind a list there may only be blanks
            yield from _whole(first, file, path) if _skip_blanks(file)[1] else value
        elif known(value):  # JSONL, or a single row
            _refuse_long(first, path, 0)
            yield value
            for number, (_, line) in enumerate(_lines(file, path, 0, 1), 1):
                yield _parse(line.decode(), f"{path}, row {number}")
        elif _skip_blanks(file)[1]:
            yield value  # the first of several rows, of no known format: the caller says so
        else:
            yield from _held(value)


def places(path: Path) -> Generator[tuple[int, Any], None, None]:
    """(byte where it begins in the unpacked file, row) for each row of a JSONL file.

    Other JSON is refused, because to find where the rows of a list begin all of it would have to be
    read.
    """
    with opened(path) as file:
        at = _begin(file, path)
        # before the first "line" is read, which may be the whole of a large list
        if file.peek(1).startswith(b"["):
            _refuse_whole(path)
        for number, (begin, line) in enumerate(_lines(file, path, at, 0)):
            if number == 0 and line.strip() == b"{":
                _refuse_whole(path)
            yield begin, _parse(line.decode(), f"{path}, row {number}")


def row_at(file: BinaryIO, begin: int) -> Any:
    """The row of a JSONL file that begins at byte `begin`."""
    file.seek(begin)
    return json.loads(file.readline(LONGEST_ROW + 1).decode())


def _begin(file: io.BufferedReader, path: Path, quote: bool = True) -> int:
    """Go to the file's first byte with text and return its place.

    Raises FactError for an empty file, a binary one, and one that begins neither a list nor an
    object.
    """
    if b"\0" in file.peek(4096):  # before a "line" of a huge binary file is read
        raise FactError(f"{path} is a binary file, not JSON or JSONL")
    mark = len(codecs.BOM_UTF8) if file.peek(4).startswith(codecs.BOM_UTF8) else 0
    file.read(mark)
    blanks, start = _skip_blanks(file)
    if not start:
        raise FactError(f"{path} is empty")
    if start[:1] not in (b"[", b"{"):
        begins = start[:200].decode("utf-8", "replace").split("\n")[0].strip()[:30]
        said = f": it begins with {quoted(begins)}" if quote else ""
        raise FactError(f"{path} is not JSON or JSONL{said}")
    return mark + blanks


def _skip_blanks(file: io.BufferedReader) -> tuple[int, bytes]:
    """Go to the next byte that is not blank: (number of blanks, some bytes from there on).

    The bytes are empty at the file's end. Whole blocks are skipped at once, because a small packed
    file may hold millions of blanks.
    """
    count = 0
    while block := file.peek(1):
        rest = block.lstrip(BLANKS)
        count += len(file.read(len(block) - len(rest)))
        if rest:
            return count, rest
    return count, b""


def _lines(
    file: io.BufferedReader, path: Path, at: int, number: int
) -> Generator[tuple[int, bytes], None, None]:
    """(place where it begins, line) for each line with text from here on.

    at      the place of the file's next byte.
    number  the number of the next row, for errors.
    """
    while True:
        blanks, start = _skip_blanks(file)
        if not start:
            return
        line = file.readline(LONGEST_ROW + 1)
        _refuse_long(line, path, number)
        yield at + blanks, line
        at, number = at + blanks + len(line), number + 1


def _refuse_long(line: bytes, path: Path, number: int) -> None:
    """FactError for a row that is longer than LONGEST_ROW."""
    if len(line) > LONGEST_ROW:
        raise FactError(
            f"{path}, row {number} is longer than {LONGEST_ROW / 2**20:.0f} MiB, the most that one "
            "row may have"
        )


def _refuse_whole(path: Path) -> None:
    """FactError for a file whose rows do not stand one on each line."""
    raise FactError(
        f"{path} is one JSON value: read it without lazy=True, or write it as JSONL, one row "
        "on each line"
    )


def _whole(first: bytes, file: io.BufferedReader, path: Path) -> Any:
    """The JSON value of a whole file, whose first bytes were read already."""
    text = first + file.read(LONGEST_VALUE)
    if len(text) > LONGEST_VALUE:
        raise FactError(
            f"{path} is one JSON value of more than {LONGEST_VALUE / 2**20:.0f} MiB: write it as "
            "JSONL, one row on each line"
        )
    return _parse(text.decode(), str(path))


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
