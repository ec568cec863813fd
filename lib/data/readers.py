"""Readers for the public data files of knowledge editing, which they recognize by their keys.

`rows` gives the rows, and `formats` makes the cases of each.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ..atomic_files import path_of
from ..errors import ArgumentError, DataWarning, FactError
from ..setting_fields import at_least
from .facts import Case, quoted
from .formats import Format, cases_of, known, recognize, unused_keys
from .row_files import plain, rows
from .row_keys import Options
from .texts import CLASSROOM, known_by


def read_cases(
    path: str | Path | Iterable[Mapping],
    limit: int | None = None,
    target: Literal["new", "true"] = "new",
    unrelated_suffix: str = "",
) -> list[Case]:
    """The cases of a data file, at most `limit`, in the file's order.

    path  The file: JSON (a list of rows, or an object that holds one), JSONL, or a table as CSV or
          TSV, all also packed by gzip; or parquet, where pyarrow is installed. Or the rows
          themselves, as a DataFrame or any iterable of dictionaries:
          `datasets.load_dataset(…, split="test")` or a list.

    The format is recognized by the keys of row 0 (`formats.FORMATS`). One's own facts need the
    keys `subject`, `prompt` and `target_new` only; `target_true`, `paraphrases`, `neighborhood`,
    `locality`, `portability`, `relation`, `batch` and `id` may be there. Also read are CounterFact
    and its flat copy, ZsRE, both also "plus", KnowEdit, MQuAKE, FEVER, WikiBigEdit, UltraEditBench,
    temporal, SelfCheckGPT hallucination, known facts and reversal.

    `target="new"` teaches the new answer. In ZsRE that is `alt`, with `answers[0]` as the true one,
    and rows whose `alt` is empty are left out with a warning. `target="true"`
    teaches the true answer (ZsRE: `answers[0]`), and questions that follow from the new one are
    left out. A format with one answer teaches it either way. In known facts this is the true one,
    which serves tracing and not editing. White space around these answers is dropped.
    `unrelated_suffix` is put after ZsRE's unrelated questions ("?" in published comparisons).

    A row of MQuAKE with several edits gives a case for each. They share a `batch`, and the question
    that follows from all of them stands at the last one. A limit may cut a batch, which loses the
    question.

    Texts are normalized (`normalized_text`), and a row's subject, or a placeholder for it, is found
    in its prompt as `Fact.find` finds it. A cell may hold several texts: as a list in brackets, or
    with separators (`list_cells.separated`), and one DataWarning says how those were read.

    An unrelated prompt that has a reference answer (`loc_ans`, `locality_ground_truth`, KnowEdit's
    `locality`) is listed twice: in `neighborhood` with it, in `locality` without. CounterFact has
    no unrelated prompts. A row whose subject is not in its prompt exactly once keeps the plain
    prompt, with `subject=None`, and one DataWarning counts such cases. `id` is the row's `case_id`,
    `known_id` or `id`, otherwise its number from 0. Test prompts of KnowEdit without any
    answer are left out.

    Keys of a row that no field of a case takes are named in one DataWarning for the whole file, but
    for ids and descriptions.

    Raises FactError where the file is missing, is no data file or has unknown keys, and names the
    format that comes closest. Errors inside a row name the row and the key.
    read_cases("zsre.json", limit=1)[0].fact.target_new -> "unmanned aircraft"
    """
    at_least(0, limit=limit)
    if target not in ("new", "true"):
        raise ArgumentError(f"target is 'new' or 'true', not '{target}'")
    options = Options(target, unrelated_suffix)
    if not isinstance(path, (str, os.PathLike)):
        found: Any = path.to_dict("records") if isinstance(path, pd.DataFrame) else path
        return [case for *_, case in _cases("the rows given", map(plain, found), limit, options)]
    path = path_of(path)
    return [case for *_, case in _cases(path, rows(path, known), limit, options)]


def _cases(
    path: Path | str,
    found: Iterable[Any],
    limit: int | None,
    options: Options,
) -> Iterator[tuple[int, Format, Case]]:
    """(number of the row, format, case) for at most `limit` cases.

    Rows without a new answer are left out with a warning. Raises FactError when no case remains.
    """
    if limit == 0:
        return
    left_out: list[int] = []
    vague: list[int] = []  # cases whose rows name a subject that their prompts do not have once
    unused: dict[str, None] = {}  # keys in the order in which they were met
    said: Counter[tuple[str, str]] = Counter()
    form, count = None, 0
    for number, row in enumerate(found):
        try:
            form = form or recognize(row)
            cases = cases_of(form, row, number, options, said)
        except FactError as error:
            raise FactError(f"{path}, row {number}: {error}") from None
        unused.update(dict.fromkeys(unused_keys(form, row)))
        if not cases:
            left_out.append(number)
        for case in cases[: None if limit is None else limit - count]:
            if case.fact.subject is None and row.get("subject", "") not in (None, ""):
                vague.append(count)
            yield number, form, case
            count += 1
        if count == limit:
            break
    read = (
        f"{quoted(key)} were read as {how} ({n} row{'s' * (n > 1)})"
        for (key, how), n in said.items()
    )
    warnings_of = {
        f"left out rows without a new answer: {_some(left_out)}": left_out,
        f"{len(vague)} of {count} cases have no subject, because that of their row is not in the "
        f"prompt exactly once, and many editors refuse them: {_some(vague, 3)} (counted from 0 in "
        "what was read)": vague,
        f"cells of {_some(read)}; a JSON list in a cell leaves no doubt": said,
        f"{form and form.name} is read without these keys: {_some(map(quoted, unused))}": unused,
    }
    for what, noted in warnings_of.items():
        if noted:
            warnings.warn(f"{path}: {what}", DataWarning, stacklevel=5)
    if not count:
        kind = "rows with a new answer" if left_out else "rows"
        raise FactError(f"{path} holds no {kind}")


def _some(items: Iterable[Any], most: int = 10) -> str:
    """Up to ten items, or so many, as a list."""
    listed = list(map(str, items))
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")


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
