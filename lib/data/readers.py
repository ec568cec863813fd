"""Readers for the public data files of knowledge editing, which they recognize by their keys.

`json_rows` gives the rows of a file and `formats` makes a case of each. The cases come as a list,
or as a lazy sequence that reads a case when it is asked for.
"""

from __future__ import annotations

import threading
import warnings
import zlib
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from operator import is_
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataWarning, FactError
from .facts import Case, Fact, quoted
from .formats import Format, Options, case_of, known, recognize, unused_keys
from .json_rows import opened, places, row_at, rows
from .texts import CLASSROOM


def read_cases(
    path: str | Path,
    limit: int | None = None,
    target: str = "new",
    unrelated_suffix: str = "",
    lazy: bool = False,
) -> Cases | LazyCases:
    """The cases of a data file, at most `limit`, in the file's order.

    The file is JSON (a list of rows, or an object that holds one) or JSONL, which is read no
    further than the limit needs. Both may be packed by gzip. These formats are recognized by keys
    of row 0:

    CounterFact                `requested_rewrite`
    CounterFact, flat          `rephrase_prompt`
    ZsRE                       `src`
    UltraEditBench             `rephrase_prompt` and `ans`
    FEVER                      `equiv_prompt`, where one of several is drawn by the row's number
    WikiBigEdit                `personas`, `mhop`
    temporal                   `ood_rephrase`
    SelfCheckGPT hallucination `locality_prompt` and no rewordings
    known facts                `known_id`
    this library's own         `paraphrases`

    The result is a list that knows its source, so that the patch of a stream need not hold the
    facts. With `lazy=True` it is a sequence that keeps only the places where rows begin. One pass
    checks all rows, and then a case is read when it is asked for, by slices too. Lazy files are
    JSONL; a JSON list is refused.

    `target="new"` teaches the new answer. In ZsRE that is `alt`, with `answers[0]` as the true one,
    and rows whose `alt` is empty are left out with a warning (in FEVER too). `target="true"`
    teaches the true answer (ZsRE: `answers[0]`). A format with one answer teaches it either way. In
    known facts this is the true one, which serves tracing and not editing. White space around these
    answers is dropped. `unrelated_suffix` is put after ZsRE's unrelated questions ("?" in published
    comparisons).

    An unrelated prompt that has a reference answer (`loc_ans`, `locality_ground_truth`) is listed
    twice: in `neighborhood` with it, in `locality` without. CounterFact has no unrelated prompts.
    A row whose subject is not in its prompt exactly once keeps the plain prompt, with
    `subject=None`. `id` is the row's `case_id`, `known_id` or `id`, otherwise its number from 0.

    Keys of a row that no field of a case takes are named in one DataWarning for the whole file, but
    for ids and descriptions. A row of JSONL has at most 16 MiB, JSON that is loaded whole 1 GiB.

    Raises FactError where the file is missing, is no data file or has unknown keys. Errors inside
    a row name the row and the key.
    read_cases("zsre.json", limit=1)[0].fact.target_new -> "unmanned aircraft"
    """
    options, path = _options(limit, target, unrelated_suffix), Path(path)
    if lazy:
        return LazyCases.indexed(path, limit, options)
    if limit == 0:
        return Cases((), path, options)
    with closing(_numbered(path)) as numbered:
        return Cases((case for *_, case in _cases(path, numbered, limit, options)), path, options)


def read_facts(
    path: str | Path,
    first: int,
    end: int,
    target: str = "new",
    unrelated_suffix: str = "",
    *,
    quote: bool = True,
) -> Iterator[Fact]:
    """The facts of `read_cases(…)[first:end]`, without holding all cases of a JSONL file.

    `quote=False` keeps the file's content out of errors and warnings, for a file that nobody here
    has named: a patch from elsewhere may name any file as the source of its facts. Raises FactError
    as `read_cases` does, and when the file has too few rows.
    """
    options, path, found = _options(end, target, unrelated_suffix), Path(path), 0
    with closing(_numbered(path, quote)) as numbered:
        for *_, case in islice(_cases(path, numbered, end, options, quote), first, None):
            found += 1
            yield case.fact
    if found < end - first:
        raise FactError(f"{path} holds {first + found} facts now, not the {end} that were read")


def _numbered(path: Path, quote: bool = True) -> Generator[tuple[int, int, Any], None, None]:
    """(number, 0, row) for each row: 0 stands for the place, for readers that need none."""
    with closing(rows(path, known, quote=quote)) as found:
        for number, row in enumerate(found):
            yield number, 0, row


def _options(limit: int | None, target: str, unrelated_suffix: str) -> Options:
    """The checked options of a reader; FactError for values that it does not know."""
    if target not in ("new", "true"):
        raise FactError(f"target should be 'new' or 'true', not {quoted(str(target))}")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise FactError(f"limit should be a whole number from 0 on, not {limit!r}")
    return Options(target, unrelated_suffix)


def _cases(
    path: Path,
    numbered: Iterable[tuple[int, int, Any]],
    limit: int | None,
    options: Options,
    quote: bool = True,
) -> Iterator[tuple[int, int, Format, Case]]:
    """(number of the row, its place, format, case) for at most `limit` cases.

    Rows without a new answer are left out with a warning. Raises FactError when no case remains.
    """
    left_out: list[int] = []
    unused: dict[str, None] = {}  # keys in the order in which they were met
    form, count = None, 0
    for number, place, row in numbered:
        try:
            form = form or recognize(row)
            case = case_of(form, row, options._replace(row=number))
        except FactError as error:
            said = error if quote else "it is no row of a known format"
            raise FactError(f"{path}, row {number}: {said}") from None
        unused.update(dict.fromkeys(unused_keys(form, row)))
        if case is None:
            left_out.append(number)
            continue
        yield number, place, form, case
        count += 1
        if count == limit:
            break
    if left_out:
        shown = ", ".join(map(str, left_out[:10])) + (", …" if len(left_out) > 10 else "")
        warnings.warn(
            f"{path}: left out rows without a new answer: {shown}", DataWarning, stacklevel=4
        )
    if unused and quote:
        keys = ", ".join(map(quoted, [*unused][:10])) + (", …" if len(unused) > 10 else "")
        warnings.warn(
            f"{path}: {form.name} is read without these keys: {keys}", DataWarning, stacklevel=4
        )
    if not count:
        kind = "rows with a new answer" if left_out else "rows"
        raise FactError(f"{path} holds no {kind}")


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

    def __init__(self, file: _File, options: Options, form: Format | None, span: range) -> None:
        self._file, self._options, self._form, self._span = file, options, form, span
        self.source = str(file.path.resolve())

    @classmethod
    def indexed(cls, path: Path, limit: int | None, options: Options) -> LazyCases:
        """One pass over the file: every row is read as a case, and only its place kept."""
        file, form = _File(path), None
        if limit != 0:
            numbered = ((n, place, row) for n, (place, row) in enumerate(places(path)))
            for number, place, form, _ in _cases(path, numbered, limit, options):  # noqa: B007
                file.numbers.append(number)
                file.begins.append(place)
        return cls(file, options, form, range(len(file.begins)))

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
                return case_of(self._form, row, self._options._replace(row=number))
            except FactError as error:
                raise FactError(f"{self.source} changed, row {number}: {error}") from None
        span = self._span[index]
        if span.step != 1:
            return [self[i] for i in range(len(self))[index]]
        return LazyCases(self._file, self._options, self._form, span)

    def __repr__(self) -> str:
        return f"<{len(self)} cases of {self.source}, read when asked for>"


class _File:
    """A data file and the places of its rows; slices of lazy cases share it and its open handle.

    path     the file.
    begins   the byte at which each kept row begins in the unpacked file.
    numbers  the number of each kept row in the file.

    The handle stays open, because in a packed file reading on is fast, while opening it again
    means unpacking from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.begins, self.numbers = path, array("Q"), array("Q")
        self._lock, self._open = threading.Lock(), ExitStack()
        self._handle: BinaryIO | None = None

    def row(self, i: int) -> Any:
        """The i-th kept row; FactError when the file has changed since it was indexed."""
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


def classroom() -> list[Case]:
    """The built-in cases, which were checked by hand: facts that the default model knows."""
    # a plain list has no source, so a patch holds these facts themselves and can be moved to a
    # machine where the file lies elsewhere
    return list(read_cases(CLASSROOM))
