"""Lists of cases that know their file: `Cases` holds them, `LazyCases` reads them on demand."""

from __future__ import annotations

import threading
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from operator import is_
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FactError
from .facts import Case
from .formats import Format, cases_of
from .json_rows import opened, row_at
from .row_keys import Options


class Cases(list):
    """A list of cases that knows the file they were read from; a slice knows its own rows.

    source  path of the file.
    reader  the arguments of `read_cases` besides path and limit.

    A list that is changed later still has its source, but `rows` then gives None.
    """

    def __init__(
        self, cases: Iterable[Case], path: Path | str, options: Options, first: int = 0
    ) -> None:
        super().__init__(cases)
        self.source, self._options, self._first = str(Path(path).resolve()), options, first
        self._read = tuple(self)  # the same objects: tells whether the list was changed since

    @property
    def reader(self) -> Mapping[str, Any]:
        """The arguments of `read_cases` besides path and limit."""
        return _reader(self._options)

    def rows(self, first: int, end: int) -> tuple[int, int] | None:
        """Where cases `first` to `end` − 1 stand in what `read_cases` gives; None if changed."""
        now, then = super().__getitem__(slice(first, end)), self._read[first:end]
        same = len(now) == len(then) == end - first and all(map(is_, now, then))
        return (self._first + first, self._first + end) if same else None

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(index, slice):
            return found
        # a slice of cases that were not changed stays a list that knows its source
        first, end, step = index.indices(len(self))
        if step != 1 or self.rows(first, max(first, end)) is None:
            return found
        return Cases(found, self.source, self._options, self._first + first)


class LazyCases(Sequence):
    """Cases that are read when they are asked for, as `read_cases(…, lazy=True)` gives them.

    source  path of the file.
    reader  the arguments of `read_cases` besides path and limit.

    Only 16 bytes are kept for each case: the number of its row and the place where it begins.
    """

    def __init__(self, file: File, options: Options, form: Format | None, span: range) -> None:
        self._file, self._options, self._form, self._span = file, options, form, span
        self.source = str(file.path.resolve())

    @property
    def reader(self) -> Mapping[str, Any]:
        """The arguments of `read_cases` besides path and limit."""
        return _reader(self._options)

    def rows(self, first: int, end: int) -> tuple[int, int]:
        """Where cases `first` to `end` − 1 stand in what `read_cases` gives."""
        return self._span.start + first, self._span.start + end

    def __len__(self) -> int:
        return len(self._span)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            i = self._span[index]
            row, number = self._file.row(i), self._file.numbers[i]
            try:
                found = cases_of(self._form, row, self._options._replace(row=number))
                return found[self._file.place_in_row(i)]
            except (FactError, IndexError) as error:
                raise FactError(f"{self.source} changed, row {number}: {error}") from None
        span = self._span[index]
        if span.step != 1:
            return [self[i] for i in range(len(self))[index]]
        return LazyCases(self._file, self._options, self._form, span)

    def __repr__(self) -> str:
        return f"<{len(self)} cases of {self.source}, read when asked for>"


class File:
    """A data file and the places of its rows; slices of lazy cases share it and its open handle.

    path     the file.
    begins   the byte at which the row of each case begins in the unpacked file.
    numbers  the number of that row in the file.

    The handle stays open, because in a packed file reading on is fast, while opening it again
    means unpacking from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.begins, self.numbers = path, array("Q"), array("Q")
        self._lock, self._open = threading.Lock(), ExitStack()
        self._handle: BinaryIO | None = None

    def place_in_row(self, i: int) -> int:
        """How many cases before the i-th come from the same row."""
        return next(n for n in range(i + 1) if n == i or self.begins[i - n - 1] != self.begins[i])

    def row(self, i: int) -> Any:
        """The row of the i-th case; FactError when the file has changed since it was indexed."""
        with self._lock:
            if self._handle is None:
                self._handle = self._open.enter_context(opened(self.path))
            try:
                return row_at(self._handle, self.begins[i])
            except (ValueError, OSError, EOFError, RecursionError, zlib.error) as error:
                raise FactError(
                    f"{self.path} changed while it was in use: row {self.numbers[i]} is not "
                    f"where it was ({type(error).__name__})"
                ) from None


def _reader(options: Options) -> dict[str, Any]:
    """The options as arguments of `read_cases`."""
    return {"target": options.target, "unrelated_suffix": options.unrelated_suffix}
