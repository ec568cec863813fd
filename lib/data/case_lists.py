"""Lists of cases that know their file."""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_
from pathlib import Path
from typing import Any

from .facts import Case
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
