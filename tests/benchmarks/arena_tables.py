"""The tables of the arena, drawn from the compact files that `arena_store` wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import pandas as pd

from lib import EDITORS
from lib.evaluation.intervals import interval
from lib.evaluation.metrics import LABELS, LOWER_IS_BETTER
from lib.evaluation.scores import Scores, compare

from .arena import BASE
from .arena_store import Cell, Result, arenas
from .tables import (
    ARENAS,
    DIFFERENCE,
    EMBEDDED,
    NO_SPREAD,
    SECOND,
    SUNK,
    called,
    made,
    note_of,
    percents,
    table,
)

ORDER = (BASE, *EDITORS)
NOT_YET = "Nothing is stored yet.\n"
SAID = {"gemma": "Gemma 3"}  # how a table calls a model, where not by its name's first part
SHORT = 10  # edits in a row that both models have been given
COMPARED = {  # column -> the first of these metrics that was measured
    "held": ("retention", "efficacy"),
    "reworded": ("generalization",),
    "unrelated": ("locality",),
}
SHOWN = ("efficacy", "retention", "generalization", "specificity", "locality", "portability")
KEPT = ("specificity",)  # what the unedited model may have right, and an edit may lose
BEST = " •"  # behind the share of those that cannot be told from the best
TWICE = NO_SPREAD + (
    " `ultraedit` was run on its ten facts of ZsRE with layers guessed by depth first, the second "
    "of its rows. Then a preset was chosen on twelve facts of the classroom, and the same ten were "
    "run again."
)
LONG = 100  # edits in a row of the table of every editor
WIDE = {  # of which model and facts that table has which columns
    (SUNK, "counterfact"): ("held", "reworded"),
    (SUNK, "zsre"): ("held", "reworded", "unrelated"),
    (SECOND, "counterfact"): ("held",),
    (SECOND, "zsre"): ("held",),
}


@cache
def stored() -> dict[str, dict[Cell, Result]]:
    """All stored arenas, read once."""
    return arenas()


def tables_of(results: Mapping[Cell, Result]) -> dict[tuple[str, int, str], pd.DataFrame]:
    """{(data, edits, event): table}, a row per editor and a column per metric."""
    return {
        (data, edits, event): _table(found, event)
        for (data, edits), found in groups(results).items()
        for event in ("probability", "teacher_forced", "generation")
    }


def groups(results: Mapping[Cell, Result]) -> dict[tuple[str, int], dict[str, Result]]:
    """The results of one set of facts and one length, {(data, edits): {editor: result}}."""
    found: dict[tuple[str, int], dict[str, Result]] = {}
    for cell, result in results.items():
        found.setdefault((cell.data, cell.edits), {})[cell.editor] = result
    return found


def _table(found: Mapping[str, Result], event: str) -> pd.DataFrame:
    metrics = [
        metric
        for metric in SHOWN
        if any((metric, event) in result.scores.asked for result in found.values())
        and not (metric in KEPT and _nothing_to_lose(found, metric, event))
    ]
    lines = {}
    best = {metric: _best(found, metric, event) for metric in metrics}
    for editor, result in found.items():
        row = {}
        summary = result.scores.summary().set_index(["metric", "event"])
        for metric in metrics:
            row[LABELS.get(metric, metric)] = _share(summary, (metric, event)) + (
                BEST if editor in best[metric] else ""
            )
        row["KL, nats"] = _nats(summary, ("locality", "kl_nats"))
        row["abilities"] = _abilities(result)
        row["perplexity"] = (
            "–" if result.scores.perplexity is None else (f"{result.scores.perplexity:.2f}")
        )
        row["s per edit"] = "–" if result.seconds is None else f"{result.seconds:.2f}"
        row["CPU min in all"] = f"{result.made['cpu'] / 60:.1f}" if "cpu" in result.made else "–"
        row["peak, MB"] = "–" if result.peak is None else f"{result.peak / 1e6:.0f}"
        lines[editor] = row
    return pd.DataFrame.from_dict(lines, orient="index")


def _nothing_to_lose(found: Mapping[str, Result], metric: str, event: str) -> bool:
    """Whether the unedited model has nothing right there, so that a column would show no harm."""
    if BASE not in found or (metric, event) not in found[BASE].scores.asked:
        return False
    return not found[BASE].scores.by_case([(metric, event)])[metric, event]["mean"].any()


def _share(summary: pd.DataFrame, pair: tuple[str, str]) -> str:
    if pair not in summary.index or pd.isna(summary.at[pair, "mean"]):
        return "–"
    mean, low, high = (100 * summary.at[pair, name] for name in ("mean", "low", "high"))
    return f"{mean:.0f} [{low:.0f}, {high:.0f}]"


def _nats(summary: pd.DataFrame, pair: tuple[str, str]) -> str:
    if pair not in summary.index or pd.isna(summary.at[pair, "mean"]):
        return "–"
    mean, low, high = (summary.at[pair, name] for name in ("mean", "low", "high"))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _abilities(result: Result) -> str:
    if not result.ability:
        return "–"
    right = [float(one) for one in result.ability]
    low, high = (100 * end for end in interval(right))
    return f"{100 * sum(right) / len(right):.0f} [{low:.0f}, {high:.0f}]"


def _best(found: Mapping[str, Result], metric: str, event: str) -> set[str]:
    """The editors that cannot be told from the best one; nobody where nobody can be told apart.

    The unedited model and retrieval stand beside the editors and are not ranked, nor is a row of a
    preset that has been replaced.
    """
    means: dict[str, float] = {}
    for editor, result in found.items():
        ranked = editor not in (BASE, "retrieval") and "@" not in editor
        if ranked and (metric, event) in result.scores.asked:
            by_case = result.scores.by_case([(metric, event)])
            means[editor] = float(by_case[metric, event]["mean"].mean())
    if len(means) < 2:
        return set()
    sign = -1 if {metric, event} & set(LOWER_IS_BETTER) else 1
    first = max(means, key=lambda editor: sign * means[editor])
    together = {first}
    for editor in means.keys() - {first}:
        if not _differ(found[first].scores, found[editor].scores, metric, event):
            together.add(editor)
    return set() if len(together) == len(means) else together


def _differ(a: Scores, b: Scores, metric: str, event: str) -> bool:
    """Whether the paired interval of a metric leaves out 0."""
    line = compare(a, b, [(metric, event)])
    return bool(len(line)) and line["better"].iloc[0] != "no difference"


def ordered(names: Iterable[str]) -> list[str]:
    """Editors in our order, each with its rows of earlier presets behind it."""
    return sorted(names, key=lambda name: (ORDER.index(name.partition("@")[0]), name))


def _lines(found: pd.DataFrame, model: str) -> str:
    """One of the report's tables: its rows in our order, without columns that say nothing."""
    found = found.loc[ordered(found.index)]
    found = found[[column for column in found if (found[column] != "–").any()]]
    names = ["unedited model" if name == BASE else called(name, model) for name in found.index]
    cells = ([name, *row] for name, row in zip(names, found.values.tolist(), strict=True))
    return table(("editor", *found), cells)


def _title(model: str, data: str, edits: int, results: dict[str, Result]) -> str:
    cases = max(result.scores.rows["case"].nunique() for result in results.values())
    return f"{data}, {edits} edits in a row, {_named(model)} ({cases} facts)"


def _named(model: str) -> str:
    return f"{EMBEDDED} with the token" if model == SUNK else model


@made("arena", *ARENAS[1:], says=TWICE)
def by_generation() -> str:
    """Every set of facts, length and model by generation."""
    parts = []
    for model in (SUNK, SECOND):
        for (data, edits), results in sorted(groups(stored()[model]).items()):
            lines = _lines(_table(results, "generation"), model)
            parts.append(f"## {_title(model, data, edits, results)}\n\n{lines}")
    return "\n".join(parts) or NOT_YET


def every_column() -> dict[str, dict[str, str]]:
    """Columns of the table of every editor: {head: {editor: cell}}."""
    ten = f"held of {SHORT} and {SHORT}, %"
    columns = {ten: held_of_ten(SUNK)}
    for (model, data), shown in WIDE.items():
        found = groups(stored()[model])[data, LONG]
        for column in shown:
            name = SAID.get(model.split("-")[0], "")
            head = f"{column}, {LONG} {data}{f', {name}' if name else ''}, %"
            columns[head] = {
                editor: percents(_values(result, COMPARED[column]))
                for editor, result in found.items()
            }
    return columns


def held_of_ten(model: str) -> dict[str, str]:
    """What every editor holds of ten facts in a row, two sets of them together: {editor: cell}."""
    values: dict[str, list[float]] = {}
    for cell, result in stored()[model].items():
        if cell.edits == SHORT:
            values.setdefault(cell.editor, []).extend(_values(result, COMPARED["held"]))
    return {editor: percents(found) for editor, found in values.items()}


def _values(result: Result, metrics: Iterable[str]) -> list[float]:
    """The values by generation, fact by fact, of the first of these metrics that was measured."""
    by_case = result.scores.by_case()
    for metric in metrics:
        if (metric, "generation") in by_case:
            return by_case[metric, "generation"]["mean"].tolist()
    return []


@made("arena-models", *((arena, [f"*-{SHORT}-*"]) for arena in ARENAS[1:]), says=TWICE)
def both_models() -> str:
    """The same facts, ten in a row, on two models: each editor's difference, paired over facts."""
    first, second = SUNK, SECOND
    rows, short = [], [cell for cell in stored()[second] if cell.edits == SHORT]
    for editor in ordered({cell.editor for cell in short}):
        plain = editor.partition("@")[0]
        pairs = [
            (cell, stored()[first][own], stored()[second][cell])
            for cell in short
            if cell.editor == editor and (own := cell._replace(editor=plain)) in stored()[first]
        ]
        if not pairs:
            continue
        sets = ", ".join(sorted(cell.data for cell, *_ in pairs))
        line = ["unedited model" if editor == BASE else _of_both(editor), sets]
        for metrics in COMPARED.values():
            a, b = ({k: v for pair in pairs for k, v in _of(pair, i, metrics)} for i in (1, 2))
            gap = [b[fact] - a[fact] for fact in a if fact in b]
            line += [percents([*a.values()]), percents([*b.values()]), percents(gap, DIFFERENCE)]
        rows.append(line)
    names = [SAID.get(name := model.split("-")[0], name) for model in (first, second)]
    head = ["editor", "facts of"]
    for column in COMPARED:
        head += [f"{column}, {names[0]}", f"{column}, {names[1]}", "difference"]
    return table(head, rows, left=2)


@made("sink-arena", *((arena, [f"*-{SHORT}-*"]) for arena in ARENAS[:2]))
def with_the_token() -> str:
    """The same facts, ten in a row, without the sink token and with it, each with its presets."""
    plain, sunk, rows = stored()[EMBEDDED], stored()[SUNK], []
    for editor in ordered({cell.editor for cell in sunk}):
        pairs = [
            (cell, plain[cell], sunk[cell])
            for cell in sunk
            if (cell.editor, cell.edits) == (editor, SHORT) and cell in plain
        ]
        line = ["unedited model" if editor == BASE else called(editor, SUNK)]
        for metrics in (*COMPARED.values(), ("specificity",)):
            a, b = ({k: v for pair in pairs for k, v in _of(pair, i, metrics)} for i in (1, 2))
            gap = [b[fact] - a[fact] for fact in a if fact in b]
            shares = " → ".join(f"{100 * sum(x.values()) / len(x):.0f}" for x in (a, b) if x)
            line.append(f"{shares} ({percents(gap, DIFFERENCE)})" if gap else "–")
        rows.append(line)
    return table(("editor", *COMPARED, "neighbors"), rows)


def _of_both(editor: str) -> str:
    """How an editor's row of both models is named: a note that holds for the first says so."""
    note = note_of(editor, SUNK)
    if not note or note == note_of(editor, SECOND):
        return called(editor, SECOND)
    return f"{called(editor, SECOND)} ({EMBEDDED.split('-')[0]}: {note})"


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
