"""Which rows of each set of facts a benchmark takes, as rows.toml says, and which are shared.

Every program of this folder takes its facts from here. Rows for tuning and rows for the tables have
none in common, so no new sweep can see what a table asks; the overlaps of what was stored before
are named in rows.toml, and `note` says them under the tables that they concern.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lib
from lib.data.formats import known
from lib.data.row_files import rows

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SPAN = re.compile(r"(\d+)(?:-(\d+))?(?: (even|odd))?")


def span(text: str) -> frozenset[int]:
    """The rows that a text names: "0-2, 4-8 even" -> 0, 1, 2, 4, 6, 8."""
    found: set[int] = set()
    for part in filter(None, text.split(", ")):
        if (match := SPAN.fullmatch(part)) is None:
            raise ValueError(f"{part!r} names no rows: '0-99' and '0-30 even' do")
        first, last, half = match.groups()
        every = range(int(first), int(last or first) + 1)
        found |= {row for row in every if half is None or row % 2 == (half == "odd")}
    return frozenset(found)


def of(data: str, use: str) -> frozenset[int]:
    """The rows of a set for a use: "tuning", "tables", "arena", "all"; else ValueError."""
    if use not in TABLE["sets"].get(data, {}):
        raise ValueError(f"rows.toml does not say which rows of '{data}' are for '{use}'")
    return span(TABLE["sets"][data][use])


def recorded(data: str, text: str) -> frozenset[int]:
    """The rows of a set that a record names: a use of the set, or their numbers as `span` reads."""
    return of(data, text) if text in TABLE["sets"].get(data, {}) else span(text)


def classroom(use: str, model: str | None = None) -> list[lib.Case]:
    """The built-in cases for a use, of a model those that it knows."""
    wanted = of("classroom", use)
    return [case for case in lib.classroom(model) if case.id in wanted]


def of_file(
    data: str, use: str, path: Path, limit: int | None = None, target: str = "new"
) -> list[lib.Case]:
    """The first cases of a file for a use; `data` is the set's name, the rest as `read_cases`."""
    wanted = of(data, use)
    found = [row for number, row in enumerate(rows(path, known)) if number in wanted]
    if not found:
        raise ValueError(f"{path} ends before the rows of '{data}' that are for '{use}'")
    return list(lib.read_cases(found, limit=limit, target=target))


def taken(table: dict[str, Any], choice: dict[str, Any]) -> bool:
    """Whether a table shows an editor that the choice was made for, or one that takes its row."""
    takes, names = TABLE["takes"], set(table.get("of", (*lib.EDITORS,)))
    while more := {takes[name] for name in names & takes.keys()} - names:
        names |= more
    return table.get("model") == choice.get("model") and not names.isdisjoint(choice["of"])


def shared() -> Iterator[tuple[str, str]]:
    """(choice, table) for each choice that saw a row of a table of its editors."""
    for choice, chosen in TABLE["choices"].items():
        for name, table in TABLE["tables"].items():
            sets = TABLE["sets"].keys() & chosen.keys() & table.keys()
            if taken(table, chosen) and any(
                recorded(d, table[d]) & recorded(d, chosen[d]) for d in sets
            ):
                yield choice, name


def note(shown: str) -> str:
    """A sentence for a generated table that shares rows with a choice."""
    tables = TABLE["tables"]
    said = [
        entry["said"]
        for entry in TABLE["shared"]
        if any(shown in tables[name].get("shown", ()) for name in entry["tables"])
    ]
    return f"Some of these facts had been used before: {'; '.join(said)}." if said else ""
