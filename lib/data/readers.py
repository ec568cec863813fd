"""Readers for the public data files of knowledge editing, which they recognize by their keys.

`json_rows` and `table_rows` give the rows, and `formats` makes the cases of each. The cases come as
a list, or as a lazy sequence (`case_lists`) that reads a case when it is asked for.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import DataWarning, FactError
from .case_lists import Cases, File, LazyCases
from .facts import Case, Fact, quoted
from .formats import Format, cases_of, known, recognize, unused_keys
from .json_rows import places, rows
from .row_keys import Options, shown
from .table_rows import is_parquet, parquet_rows, plain_row
from .texts import CLASSROOM, known_by


def read_cases(
    path: str | Path | Iterable[Mapping],
    limit: int | None = None,
    target: str = "new",
    unrelated_suffix: str = "",
    lazy: bool = False,
) -> list[Case] | Cases | LazyCases:
    """The cases of a data file, at most `limit`, in the file's order.

    path  The file: JSON (a list of rows, or an object that holds one) or JSONL, which is read no
          further than the limit needs, both also packed by gzip; or parquet, where pyarrow, or
          pandas with an engine, is installed. Or the rows themselves, as any iterable of
          dictionaries: `datasets.load_dataset(…, split="test")` or a list.

    The format is recognized by the keys of row 0:

    CounterFact                `requested_rewrite` (an object), also CounterFact plus
    CounterFact, flat          `rephrase_prompt`, `locality_prompt`
    ZsRE                       `src`, also the three files of ZsRE plus
    KnowEdit                   `locality` and `portability` (objects): wiki_recent, wiki_counterfact
    KnowEdit ZsRE              the same and `rephrase_prompt`
    KnowEdit WikiBio           `labels`, `concept`
    RippleEdits                `edit`, `Compositionality_I`
    MQuAKE                     `requested_rewrite` (a list), `questions`
    AKEW                       the same with `fact_new_uns` in each edit: MQuAKE's rows as texts
    QAEdit                     `target`, `rephrase`, `locality` (a list)
    UnKE                       `para_question`, `sub_question`
    EditEverything             `question`, `answer`, `category`
    UltraEditBench             `rephrase_prompt` and `ans`
    FEVER                      `equiv_prompt`, where one of several is drawn by the row's number
    WikiBigEdit                `update`, `rephrase`
    temporal                   `ood_rephrase`
    SelfCheckGPT hallucination `locality_prompt` and no rewordings
    known facts                `attribute`
    reversal                   `child`, `parent`
    this library's own         `paraphrases`

    The cases of a file come as a list that knows its source, so that the patch of a stream need not
    hold the facts; rows that were given come as a plain list. With `lazy=True` it is a sequence
    that keeps only the places where rows begin. One pass checks all rows, and then a case is read
    when it is asked for, by slices too. Lazy files are JSONL; everything else is refused.

    `target="new"` teaches the new answer. In ZsRE that is `alt`, with `answers[0]` as the true one,
    and rows whose `alt` is empty are left out with a warning (in FEVER too). `target="true"`
    teaches the true answer (ZsRE: `answers[0]`), and questions that follow from the new one are
    left out. A format with one answer teaches it either way. In known facts this is the true one,
    which serves tracing and not editing. White space around these answers is dropped.
    `unrelated_suffix` is put after ZsRE's unrelated questions ("?" in published comparisons).

    A row of MQuAKE with several edits gives a case for each. They share a `batch`, and the question
    that follows from all of them stands at the last one. A limit may cut a batch, which loses the
    question.

    An unrelated prompt that has a reference answer (`loc_ans`, `locality_ground_truth`, KnowEdit's
    `locality`) is listed twice: in `neighborhood` with it, in `locality` without. CounterFact has
    no unrelated prompts. A row whose subject is not in its prompt exactly once keeps the plain
    prompt, with `subject=None`. `id` is the row's `case_id`, `known_id` or `id`, otherwise its
    number from 0. Test prompts of KnowEdit and RippleEdits without any answer are left out.

    Keys of a row that no field of a case takes are named in one DataWarning for the whole file, but
    for ids and descriptions. A row of JSONL has at most 16 MiB, JSON that is loaded whole 1 GiB.

    Raises FactError where the file is missing, is no data file or has unknown keys, and names the
    format that comes closest. Errors inside a row name the row and the key.
    read_cases("zsre.json", limit=1)[0].fact.target_new -> "unmanned aircraft"
    """
    options = _options(limit, target, unrelated_suffix)
    if not isinstance(path, (str, os.PathLike)):
        return _given(path, limit, options, lazy)
    path = Path(path)
    if lazy:
        return _indexed(path, limit, options)
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
    found = parquet_rows(path) if is_parquet(path) else rows(path, known, quote=quote)
    with closing(found):
        for number, row in enumerate(found):
            yield number, 0, row


def _options(limit: int | None, target: str, unrelated_suffix: str) -> Options:
    """The checked options of a reader; FactError for values that it does not know."""
    if target not in ("new", "true"):
        raise FactError(f"target should be 'new' or 'true', not {quoted(str(target))}")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise FactError(f"limit should be a whole number from 0 on, not {limit!r}")
    return Options(target, unrelated_suffix)


def _given(given: Any, limit: int | None, options: Options, lazy: bool) -> list[Case]:
    """The cases of rows that come from no file."""
    if lazy:
        raise FactError("lazy=True needs the path of a JSONL file, not rows")
    if isinstance(given, (Mapping, bytes)) or not isinstance(given, Iterable):
        what = (
            f"an object with the keys {', '.join(quoted(str(key)) for key in [*given][:8])}"
            if isinstance(given, Mapping)
            else shown(given)
        )
        raise FactError(f"read_cases needs a path, or an iterable of rows, not {what}")
    if limit == 0:
        return []
    numbered = ((number, 0, plain_row(row)) for number, row in enumerate(given))
    return [case for *_, case in _cases("the rows given", numbered, limit, options)]


def _indexed(path: Path, limit: int | None, options: Options) -> LazyCases:
    """One pass over the file: every row is read as cases, and only its place kept."""
    if is_parquet(path):
        raise FactError(f"{path} is parquet, which lazy=True does not read: leave it out")
    file, form = File(path), None
    if limit != 0:
        numbered = ((n, place, row) for n, (place, row) in enumerate(places(path)))
        for number, place, form, _ in _cases(path, numbered, limit, options):  # noqa: B007
            file.numbers.append(number)
            file.begins.append(place)
    return LazyCases(file, options, form, range(len(file.begins)))


def _cases(
    path: Path | str,
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
            cases = cases_of(form, row, options._replace(row=number))
        except FactError as error:
            said = error if quote else "it is no row of a known format"
            raise FactError(f"{path}, row {number}: {said}") from None
        unused.update(dict.fromkeys(unused_keys(form, row)))
        if not cases:
            left_out.append(number)
        for case in cases[: None if limit is None else limit - count]:
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


def classroom(model: str | None = None) -> list[Case]:
    """The built-in cases, which were checked by hand: facts that the default model knows.

    model  Name of a model, as `lm.name` has it. Where KNOWN says what it knows, only the cases that
           it answers rightly come back, each with the neighbors that it answers rightly; both were
           measured by tests/make_known.py. A model that is not in that file gets all cases, which
           the default model knows and another one may not: `lib.known` asks it.

    `classroom("gemma-3-270m")` has fewer cases than `classroom()`, under the same ids.
    """
    # a plain list has no source, so a patch holds these facts themselves and can be moved to a
    # machine where the file lies elsewhere
    cases = list(read_cases(CLASSROOM))
    measured = known_by(model)
    if measured is None:
        return cases
    near = measured["classroom"]["known"]
    return [
        replace(case, neighborhood=tuple(case.neighborhood[i] for i in near[str(case.id)]))
        for case in cases
        if str(case.id) in near
    ]
