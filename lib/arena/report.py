"""The arena's results as tables and a page: every share with its interval, no rank by chance.

A ranking is drawn only where paired intervals part: in each column the editors that cannot be told
from the best one, because the 95 % interval of the paired difference holds 0, are marked together.
"""

from __future__ import annotations

import base64
import html
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from ..evaluation.answers import EVENTS
from ..evaluation.intervals import interval
from ..evaluation.scores import LABELS, LOWER_IS_BETTER, Scores, compare
from .arena import Arena
from .cells import BASE, SINGLES, Cell, Result

SHOWN = ("efficacy", "retention", "generalization", "specificity", "locality", "portability")
KEPT = ("specificity",)  # what the unedited model may have right, and an edit may lose
BEST = " •"  # behind the share of those that cannot be told from the best


def tables(arena: Arena) -> dict[tuple[str, int, str], pd.DataFrame]:
    """{(data, edits, event): table}, a row per editor and a column per metric."""
    return tables_of(arena.results)


def tables_of(results: Mapping[Cell, Result]) -> dict[tuple[str, int, str], pd.DataFrame]:
    """The same for results alone, as for those that were stored without their arena."""
    return {
        (data, edits, event): _table(found, event)
        for (data, edits), found in groups(results).items()
        for event in EVENTS
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

    The unedited model and retrieval stand beside the editors and are not ranked.
    """
    means: dict[str, float] = {}
    for editor, result in found.items():
        if editor not in (BASE, "retrieval") and (metric, event) in result.scores.asked:
            by_case = result.scores.by_case([(metric, event)])
            means[editor] = float(by_case[metric, event]["mean"].mean())
    if len(means) < 2:
        return set()
    sign = -1 if {metric, event} & set(LOWER_IS_BETTER) else 1
    first = max(means, key=lambda editor: sign * means[editor])
    together = {first}
    for editor in means.keys() - {first}:
        if not _apart(found[first].scores, found[editor].scores, metric, event):
            together.add(editor)
    return set() if len(together) == len(means) else together


def _apart(a: Scores, b: Scores, metric: str, event: str) -> bool:
    """Whether the paired interval of a metric leaves out 0."""
    line = compare(a, b, [(metric, event)])
    return bool(len(line)) and line["better"].iloc[0] != "no difference"


def markdown(arena: Arena) -> str:
    """All tables as Markdown."""
    return "\n".join(
        [
            f"# Arena: {arena.lm.name}\n",
            _NOTE + "\n",
            *(f"## {_title(key)}\n\n{_piped(table)}\n" for key, table in tables(arena).items()),
            *_left(arena),
        ]
    )


def page(arena: Arena) -> str:
    """All tables and figures as one HTML file without links to anywhere."""
    parts = [f"<h1>Arena: {html.escape(arena.lm.name)}</h1><p>{html.escape(_NOTE)}</p>"]
    pictures, seen = _pictures(arena), set()
    for key, table in tables(arena).items():
        if key[:2] not in seen and key[:2] in pictures:
            seen.add(key[:2])
            picture = base64.b64encode(pictures[key[:2]]).decode()
            alt = html.escape(f"{_title(key)}: facts still said over neighbors still right")
            parts.append(f'<img alt="{alt}" src="data:image/png;base64,{picture}">')
        parts.append(f"<h2>{html.escape(_title(key))}</h2>{table.to_html(border=0)}")
    parts += [f"<p>{html.escape(line)}</p>" for line in _left(arena)]
    style = "body{font:15px system-ui;margin:2em;max-width:80em}td,th{padding:2px 8px}"
    title = html.escape(f"Arena: {arena.lm.name}")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{style}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _pictures(arena: Arena) -> dict[tuple[str, int], bytes]:
    """The figures as PNG; none where Matplotlib is not installed, as in a bare installation."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    from . import figures

    return figures.pictures(arena)


_NOTE = (
    "Shares in percent with their 95 % intervals over cases; KL and seconds as they are named. "
    f"“{BEST.strip()}” marks the editors that cannot be told from the best one of a column: "
    "the paired interval of the difference holds 0; a column without a mark tells nobody apart. "
    "The unedited model and retrieval, which edits nothing, are not ranked. No column shows the "
    "specificity where the unedited model has no neighbor right, and so none to lose."
)


def _title(key: tuple[str, int, str]) -> str:
    data, edits, event = key
    return f"{data}, {_what(edits)}, {LABELS.get(event, event)}"


def _what(edits: int) -> str:
    return f"{SINGLES} single edits" if edits == 1 else f"{edits} edits in a row"


def _left(arena: Arena) -> Iterator[str]:
    """What was not run, and why."""
    for cell, reason in arena.left_out.items():
        yield f"Not run: {cell.editor} on {cell.data}, {_what(cell.edits)} ({reason})."


def _piped(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    head = ["editor", *table.columns]
    lines: list[Iterable[str]] = [head, ["---"] * len(head)]
    lines += [
        [str(name), *map(str, row)] for name, row in zip(table.index, table.values, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(arena: Arena, folder: Path) -> list[Path]:
    """Write arena.md and arena.html into a folder; their paths."""
    paths = [folder / "arena.md", folder / "arena.html"]
    for path, text in zip(paths, (markdown(arena), page(arena)), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
