"""Lists of cases that know their file: `Cases` holds them, `LazyCases` reads them on demand."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import is_
from pathlib import Path
from typing import Any

from ..errors import FactError
from .facts import Case
from .formats import Format, cases_of
from .row_files import row_at
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
        self.source, self.reader = str(Path(path).resolve()), options._asdict()
        self._options, self._first = options, first
        self._read = tuple(self)  # the same objects: tells whether the list was changed since

    def __repr__(self) -> str:
        return f"<{len(self)} cases of {self.source}>"

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

    Only 16 bytes are kept for each case: the number of its row, and the byte where the row begins.
    """

    def __init__(
        self,
        path: Path,
        numbers: Sequence[int],
        begins: Sequence[int],
        options: Options,
        form: Format | None,
        span: range,
    ) -> None:
        self._path, self._numbers, self._begins = path, numbers, begins
        self._options, self._form, self._span = options, form, span
        self.source, self.reader = str(path.resolve()), options._asdict()

    def rows(self, first: int, end: int) -> tuple[int, int]:
        """Where cases `first` to `end` − 1 stand in what `read_cases` gives."""
        return self._span.start + first, self._span.start + end

    def __len__(self) -> int:
        return len(self._span)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            span = self._span[index]
            if span.step != 1:
                return [self[i] for i in range(len(self))[index]]
            places = self._numbers, self._begins
            return LazyCases(self._path, *places, self._options, self._form, span)
        i = self._span[index]
        number = self._numbers[i]
        try:
            row = row_at(self._path, self._begins[number], number)
            found = cases_of(self._form, row, number, self._options, Counter())
            # a row may hold several cases, which stand one after another
            return found[i - bisect_left(self._numbers, number, 0, i)]
        except (FactError, IndexError) as error:
            raise FactError(f"{self.source} changed while it was in use: {error}") from None

    def __repr__(self) -> str:
        return f"<{len(self)} cases of {self.source}, read when asked for>"
