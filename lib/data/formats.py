"""The formats of public data files for knowledge editing, all in FORMATS.

To add a format, write a function making a `Case` from its row next to similar functions, with
its keys above it, then list it here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from ..errors import FactError
from . import consequence_formats as follows
from . import single_fact_formats as single
from .facts import Case, quoted
from .row_keys import Format, Options, Row

IDS = ("case_id", "known_id", "id")
FORMATS = (  # if two formats have the same number of keys, the first wins
    single.own,
    single.counterfact,
    single.counterfact_flat,
    single.zsre,
    single.zsre_reverse,
    single.zsre_alias,
    follows.knowedit,
    follows.knowedit_zsre,
    follows.mquake,
    single.temporal,
    single.selfcheck,
    single.known_facts,
    single.fever,
    single.wikibigedit,
    single.ultraeditbench,
    single.reversal,
)
KNOWN = ", ".join(form.name for form in FORMATS[1:])


def known(row: Any) -> Format | None:
    """Return the format of a file with this first row; None if its keys fit none."""
    fitting = [form for form in FORMATS if isinstance(row, dict) and row.keys() >= {*form.keys}]
    if fitting[:1] == [single.own] and "locality" in row and not isinstance(row["locality"], dict):
        return single.own  # in the others, it is an object
    return max(fitting, key=lambda form: len(form.keys), default=None)


def recognize(row: Any) -> Format:
    """Return the format of a file with this first row; FactError names the closest format."""
    form = known(row)
    if form is not None:
        return form
    if not isinstance(row, dict):
        raise FactError(f"A row should be an object with keys, not {quoted(str(row))}.")
    near = max(FORMATS, key=lambda one: len(row.keys() & {*one.keys}) / len(one.keys))
    missing = [key for key in near.keys if key not in row]
    # a file containing rows for each language, or rows containing one for each
    inside = {
        key: some[0] if isinstance(some, list) and some else some for key, some in row.items()
    }
    if len(parts := [quoted(str(key)) for key, one in inside.items() if known(one)]) > 1:
        raise FactError(
            f"There are rows for each of {', '.join(parts[:5])}. Pass the rows of only one."
        )
    if 2 * len(missing) > len(near.keys):
        keys = ", ".join(quoted(str(key)[:40]) for key in list(row)[:8]) or "none"
        raise FactError(
            f"The keys ({keys}) do not match any known format. Your own rows need "
            f"{', '.join(single.own.keys)}. Known formats are {KNOWN}; {near.name} comes closest."
        )
    said = " and ".join(f"key '{key}' is missing" for key in missing)
    raise FactError(f"{said}. The closest format is {near.name}.")


def cases_of(form: Format, row: Any, number: int, options: Options, said: Counter) -> list[Case]:
    """Return the cases of a row with their ids, normalized or as written; none without an answer.

    Several facts of a row form a batch with the row's id, and their ids are numbered from 1.

    said  counts the rows in which (key, words) was read from cells with separators
    """
    if not isinstance(row, dict):
        raise FactError(f"A row should be an object with keys, not {quoted(str(row))}.")
    try:
        found = form.read(made := Row(row, set()), options)
        name = next((row[key] for key in IDS if row.get(key) is not None), number)
        if isinstance(name, bool) or not isinstance(name, (int, str)):
            raise FactError(f"The id should be a number or text, not {quoted(str(name))}.")
    except FactError as error:
        raise FactError(f"{error} (Read as {form.name}.)") from None
    said.update(made.said)
    some = [found] if isinstance(found, Case) else found or []
    if len(some) == 1:
        return [replace(some[0], id=name)]
    return [replace(case, id=f"{name}/{n}", batch=name) for n, case in enumerate(some, 1)]


def unused_keys(form: Format, row: dict) -> list[str]:
    """Return the row's keys that no field of its case uses, except ids and descriptions."""
    taken = {*form.keys, *form.also, *IDS}
    return [key for key in row if key not in taken and row[key] is not None]
