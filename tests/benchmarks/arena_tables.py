"""The tables of the arena, drawn from the compact files that `arena_store` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pandas as pd

from lib import EDITORS
from lib.arena.cells import BASE, Cell, Result
from lib.arena.report import groups, tables_of

from .arena_store import arenas
from .tables import DIFFERENCE, EVENTS, made, percents, table

ORDER = (BASE, *EDITORS)
NOT_YET = "Nothing is stored yet.\n"
SAID = {"gemma": "Gemma 3"}  # how a table calls a model, where not by its name's first part
SHORT = 10  # edits in a row that both models have been given
COMPARED = {  # column -> the first of these metrics that was measured
    "held": ("retention", "efficacy"),
    "reworded": ("generalization",),
    "unrelated": ("locality",),
}
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


@made("arena-models")
def both_models() -> str:
    """The same facts, ten in a row, on two models: each editor's difference, paired over facts."""
    first, second = list(stored())[:2]  # the embedded model and the second one, by their names
    rows = []
    for editor in ORDER:
        pairs = [
            (cell, stored()[first][cell], stored()[second][cell])
            for cell in stored()[first]
            if cell.editor == editor and cell.edits == SHORT and cell in stored()[second]
        ]
        if not pairs:
            continue
        sets = ", ".join(sorted(cell.data for cell, *_ in pairs))
        line = ["unedited model" if editor == BASE else f"`{editor}`", sets]
        for metrics in COMPARED.values():
            a, b = ({k: v for pair in pairs for k, v in _of(pair, i, metrics)} for i in (1, 2))
            gap = [b[fact] - a[fact] for fact in a if fact in b]
            line += [percents([*a.values()]), percents([*b.values()]), percents(gap, DIFFERENCE)]
        rows.append(line)
    short = [SAID.get(name := model.split("-")[0], name) for model in (first, second)]
    head = ["editor", "facts of"]
    for column in COMPARED:
        head += [f"{column}, {short[0]}", f"{column}, {short[1]}", "difference"]
    return table(head, rows, left=2)


def _of(
    pair: tuple[Cell, Result, Result], which: int, metrics: tuple[str, ...]
) -> Iterator[tuple[tuple[str, str], float]]:
    """Facts and their values by generation, of the first of these metrics that there is."""
    by_case = pair[which].scores.by_case()
    for metric in metrics:
        if (metric, "generation") in by_case:
            means = by_case[metric, "generation"]["mean"]
            return (((pair[0].data, str(case)), value) for case, value in means.items())
    return iter(())
