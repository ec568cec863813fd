"""Readers for public data files of knowledge editing, recognized by their keys.

`rows` returns the rows, and `formats` makes the cases of each row.
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
    """Return the cases of a data file, at most `limit`, in the file's order.

    path  The file: JSON (a list of rows, or an object containing one), JSONL, or a table as CSV
          or TSV, all also compressed with gzip; or parquet, if pyarrow is installed. Or the rows
          themselves, as a DataFrame or any iterable of dictionaries: `datasets.load_dataset(…,
          split="test")` or a list.

    The format is recognized by the keys of row 0 (`formats.FORMATS`). Your own facts need only the
    keys `subject`, `prompt` and `target_new`; `target_true`, `paraphrases`, `neighborhood`,
    `locality`, `portability`, `relation`, `batch` and `id` are optional. You can also read
    CounterFact and its flat copy, ZsRE, both also "plus", KnowEdit, MQuAKE, FEVER, WikiBigEdit,
    UltraEditBench, temporal, SelfCheckGPT hallucination, known facts and reversal.

    `target="new"` teaches the new answer. In ZsRE this is `alt`, with `answers[0]` as the true
    answer, and rows with an empty `alt` are left out with a warning. `target="true"` teaches the
    true answer (ZsRE: `answers[0]`), leaving out questions following from the new one. A format
    with only one answer teaches it either way. In known facts, this is the true answer, which is
    used for tracing, not editing. White space around these answers is dropped. `unrelated_suffix`
    is appended to ZsRE's unrelated questions ("?" in published comparisons).

    A row of MQuAKE with several edits gives a case for each. They share a `batch`, and the last
    case has the question following from all of them. A limit can cut a batch, losing the question.

    Texts are normalized (`normalized_text`), and a row's subject, or a placeholder for it, is found
    in its prompt using the rules of `Fact.find`. A cell can contain several texts: as a list in
    brackets, or with separators (`list_cells.separated`), in which case a single DataWarning
    reports how they were read.

    An unrelated prompt with a reference answer (`loc_ans`, `locality_ground_truth`, KnowEdit's
    `locality`) is listed twice: in `neighborhood` with it, in `locality` without. CounterFact has
    no unrelated prompts. If a row's subject is not in its prompt exactly once, the case keeps the
    plain prompt, with `subject=None`, and a single DataWarning counts such cases. `id` is the row's
    `case_id`, `known_id` or `id`, otherwise its number from 0. KnowEdit's test prompts without any
    answer are left out.

    A single DataWarning for the whole file lists the row keys that no field of a case uses, except
    ids and descriptions.

    Raises FactError if the file is missing, is not a data file or has unknown keys, naming the
    closest format. Errors inside a row name the row and the key.
    read_cases("zsre.json", limit=1)[0].fact.target_new -> "unmanned aircraft"
    """
    at_least(0, limit=limit)
    if target not in ("new", "true"):
        raise ArgumentError(f"target should be 'new' or 'true', not '{target}'.")
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
    """Yield (number of the row, format, case) for at most `limit` cases.

    Rows without a new answer are left out with a warning. Raises FactError if no case remains.
    """
    if limit == 0:
        return
    left_out: list[int] = []
    vague: list[int] = []  # cases with a subject not occurring in the prompt exactly once
    unused: dict[str, None] = {}  # keys in the order of their first occurrence
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
        f"{len(vague)} of {count} cases have no subject, because their row's subject is not in "
        f"the prompt exactly once. Many editors reject them: {_some(vague, 3)} (counted from 0 "
        "among the cases read)": vague,
        f"cells of {_some(read)}. Use a JSON list in a cell to avoid any ambiguity.": said,
        f"{form and form.name} is read without these keys: {_some(map(quoted, unused))}": unused,
    }
    for what, noted in warnings_of.items():
        if noted:
            warnings.warn(f"{path}: {what}", DataWarning, stacklevel=5)
    if not count:
        kind = "rows with a new answer" if left_out else "rows"
        raise FactError(f"{path} contains no {kind}.")


def _some(items: Iterable[Any], most: int = 10) -> str:
    """Return up to ten items, or as many as given, as a list."""
    listed = list(map(str, items))
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")


def classroom(model: str | None = None) -> list[Case]:
    """Return the built-in cases, checked by hand: facts that the default model knows.

    model  Name of a model, like `lm.name`. If KNOWN lists its known facts, only the cases that it
           answers correctly are returned, each with the neighbors that it answers correctly; both
           were measured using tests/make_known.py. A model missing from that file gets all cases,
           which the default model knows but another model may not: use `lib.known` to test it.

    `classroom("gemma-3-270m")` has fewer cases than `classroom()`, using the same ids.
    """
    # a plain list has no source, so a patch contains these facts themselves and can be moved to a
    # machine with the file in another place
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
