"""The tables of the arena, drawn from the compact files that `arena_store` wrote."""

from __future__ import annotations

from functools import cache

import pandas as pd

from lib import EDITORS
from lib.arena.cells import BASE, Cell, Result
from lib.arena.report import groups, tables_of

from .arena_store import arenas
from .tables import EVENTS, made, percents, table

ORDER = (BASE, *EDITORS)
NOT_YET = "Nothing is stored yet.\n"
LONG, ENOUGH = 100, 5  # edits in a row that README shows, once more than so many rows have them


@cache
def stored() -> dict[str, dict[Cell, Result]]:
    """All stored arenas, read once."""
    return arenas()


@cache
def drawn() -> dict[str, dict[tuple[str, int, str], pd.DataFrame]]:
    """{model: its tables}, drawn once for all events: the intervals of the pairs take long."""
    return {model: tables_of(results) for model, results in stored().items()}


def _lines(found: pd.DataFrame) -> str:
    """One of the report's tables: its rows in our order, without columns that say nothing."""
    found = found.loc[[name for name in ORDER if name in found.index]]
    found = found[[column for column in found if (found[column] != "–").any()]]
    names = ["unedited model" if name == BASE else f"`{name}`" for name in found.index]
    cells = ([name, *row] for name, row in zip(names, found.values.tolist(), strict=True))
    return table(("editor", *found), cells)


def _title(model: str, data: str, edits: int, results: dict[str, Result]) -> str:
    what = "single edits, each on the unedited model" if edits == 1 else f"{edits} edits in a row"
    cases = max(result.scores.rows["case"].nunique() for result in results.values())
    return f"{data}, {what}, {model} ({cases} facts)"


def _sections(events: tuple[str, ...]) -> str:
    parts = []
    for model, results in stored().items():
        by_place = groups(results)
        for (data, edits, event), found in sorted(drawn()[model].items(), key=lambda i: i[0]):
            if event in events:
                title = _title(model, data, edits, by_place[data, edits])
                word = f", {EVENTS[event]}" if len(events) > 1 else ""
                parts.append(f"#### {title}{word}\n\n{_lines(found)}")
    return "\n".join(parts) or NOT_YET


@made("arena")
def by_generation() -> str:
    """Every set of facts, length and model by generation."""
    return _sections(("generation",))


@made("arena-in-full")
def in_full() -> str:
    """The same by the other two events."""
    return _sections(("probability", "teacher_forced"))


def _percent(result: Result | None, *metrics: str) -> str:
    by_case = result.scores.by_case() if result else {}
    pair = next(((m, "generation") for m in metrics if (m, "generation") in by_case), None)
    return percents(by_case[pair]["mean"].tolist()) if pair else "–"


def hundred() -> dict[str, dict[str, str]]:
    """Columns of README's table of methods: what is held of a hundred facts, where that was run.

    {head: {editor: cell}}, one for each model and set of facts with enough editors.
    """
    columns = {}
    for model, results in stored().items():
        for (data, edits), found in groups(results).items():
            if edits == LONG and BASE in found and len(found) > ENOUGH:
                head = f"held of {LONG} {data}, {model.removesuffix('-Instruct')}, %"
                columns[head] = {name: _held(result) for name, result in found.items()}
    return columns


def _held(result: Result) -> str:
    by_case = result.scores.by_case()
    metric = "retention" if ("retention", "generation") in by_case else "efficacy"
    return percents(by_case[metric, "generation"]["mean"].tolist())
