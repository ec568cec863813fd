"""The arena in notebook 14: stored results of larger streams, drawn with their intervals.

`python -m tests.benchmarks.arena` ran them, and `python -m tests.benchmarks.arena_store` put their
condensed rows beside the notebook's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import lib
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.plot.style import COLORS, DPI, EDITED, GRID, INK, SMALL, WIDTH, Drawing

from . import stored_runs
from .five_streams import points

NAME = "14_arena"  # the stored file
SETTINGS = {
    "what": "arena: every editor, set of facts and length, by generation",
    "columns": ["held", "reworded", "neighbors"],
}
SHADES = {"held": EDITED, "reworded": COLORS["base"], "neighbors": COLORS["neighbor"]}
MARKERS = dict(zip(SHADES, "osD", strict=True))
ORDER = ("base", *lib.EDITORS)
UNRANKED = ("base", "retrieval")  # they edit nothing
Place = tuple[str, str, int]


def stored(name: str = NAME) -> list[dict[str, Any]]:
    """The rows of the stored arenas. A source names the file, so that the build knows it."""
    return stored_runs.load(name, SETTINGS)["rows"]


def places(rows: Sequence[Mapping[str, Any]]) -> dict[Place, dict[str, Mapping[str, Any]]]:
    """{(model, facts, length): {editor: row}} of streams; single edits have length 1."""
    found: dict[Place, dict[str, Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: ORDER.index(row["editor"])):
        found.setdefault((row["model"], row["data"], row["edits"]), {})[row["editor"]] = row
    return dict(sorted(found.items()))


def longest(rows: Sequence[Mapping[str, Any]], enough: int = 6) -> list[Place]:
    """For each model and set of facts the longest stream that most editors have run.

    Most are two thirds of as many as have run any stream there, and no fewer than `enough`.
    """
    of: dict[tuple[str, str], dict[Place, int]] = {}
    for place, editors in places(rows).items():
        if len(editors) >= enough:
            of.setdefault(place[:2], {})[place] = len(editors)
    return [
        max(place for place, editors in counts.items() if 3 * editors >= 2 * max(counts.values()))
        for counts in of.values()
    ]


def columns(editors: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The columns of a stream: none for neighbors where the unedited model has none right."""
    base = editors.get("base", {"columns": {}})["columns"]
    return [column for column in SHADES if column != "neighbors" or any(base.get(column, [1.0]))]


def together(editors: Mapping[str, Mapping[str, Any]], column: str) -> tuple[str, list[str]]:
    """The best editor of a column, and those whose paired difference to it holds 0."""
    values = {
        name: np.array(row["columns"][column])
        for name, row in editors.items()
        if name not in UNRANKED and column in row["columns"]
    }
    best = max(values, key=lambda name: values[name].mean())
    same = []
    for name, mine in values.items():
        low, _ = interval(values[best] - mine, DIFFERENCE)
        if name == best or low <= 0:
            same.append(name)
    return best, same


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each stream and column: the best editor, who cannot be told from it, and what it costs."""
    found = []
    for place in longest(rows):
        editors = places(rows)[place]
        for column in columns(editors):
            if not any(column in editors[n]["columns"] for n in editors if n not in UNRANKED):
                continue
            best, same = together(editors, column)
            mine, theirs = (editors[n]["columns"].get(column, []) for n in (best, "retrieval"))
            gap = np.array(mine) - np.array(theirs) if len(mine) == len(theirs) else []
            ahead = "–"
            if len(gap):
                low, high = interval(gap, DIFFERENCE)
                ahead = points(100 * gap.mean(), 100 * low, 100 * high)
            others = sum(name not in UNRANKED for name in editors)
            found.append(
                {
                    "stream": f"{place[1]}, {place[2]} edits, {place[0].removesuffix('-Instruct')}",
                    "column": column,
                    "best": best,
                    "not told from it": f"{len(same) - 1} of {others - 1}",
                    "best − retrieval, points": ahead,
                }
            )
    return found


def picture(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel per stream, one line per editor: its shares with their intervals over facts."""
    shown, every = longest(rows), places(rows)
    names = [name for name in ORDER if any(name in every[place] for place in shown)]
    figure = Drawing(
        figsize=(WIDTH, 0.3 * len(names) + 1.4), dpi=DPI, facecolor="white", layout="constrained"
    )
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False).ravel()
    for ax, place in zip(axes, shown, strict=True):
        for i, column in enumerate(SHADES):
            if column not in columns(every[place]):
                continue
            for y, name in enumerate(names):
                values = every[place].get(name, {"columns": {}})["columns"].get(column)
                if values:
                    low, high = interval(values)
                    at = y + 0.22 * (i - 1)
                    ax.hlines(at, 100 * low, 100 * high, color=SHADES[column], linewidth=1.4)
                    ax.plot(100 * np.mean(values), at, MARKERS[column], color=SHADES[column],
                            markersize=4.5)  # fmt: skip
        model, data, edits = place
        title = f"{data}, {edits} edits\n{model.removesuffix('-Instruct')}"
        ax.set_title(title, fontsize=SMALL, color=INK, loc="left")
        ax.set(xlim=(-4, 104), ylim=(len(names) - 0.5, -0.5))
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=SMALL, labelcolor=INK)
        ax.xaxis.grid(True, color=GRID)
        ax.set_axisbelow(True)
        ax.set_yticks(range(len(names)), ["unedited" if n == "base" else n for n in names])
    figure.supxlabel("share of facts, by generation (%)", fontsize=SMALL, color=INK)
    seen = {column for place in shown for column in columns(every[place])}
    handles = [
        Line2D([], [], color=SHADES[c], marker=MARKERS[c], linewidth=1.4, label=c)
        for c in SHADES
        if c in seen
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False,
                  fontsize=SMALL, labelcolor=INK)  # fmt: skip
    return figure
