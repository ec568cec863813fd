"""The drawing of notebook 19: what each bracket writes, and what it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lib.workbench.plot.style import CYCLE, LABEL, SMALL, new_figure
from lib.workbench.plot.style import legend as beside

NAMES = "a new fact: what is missing", "an earlier fact: how far it moves", "text: how far it moves"


def brackets(found: Mapping[str, Sequence[float]]) -> Figure:
    """Draw {bracket: three lengths}, one row per bracket, in lengths of a value."""
    figure, ax = new_figure("in lengths of what is asked of a value", "", None, height=3.9)
    rows = range(len(found))
    for place, (name, marker) in enumerate(zip(NAMES, "osD", strict=True)):
        values = [lengths[place] for lengths in found.values()]
        ax.scatter(values, rows, 55, color=CYCLE[place], marker=marker, label=name, zorder=3)
    for row, lengths in enumerate(found.values()):
        ax.plot([min(lengths), max(lengths)], [row, row], color="0.85", linewidth=1, zorder=1)
    ax.set_yticks(rows, [name.replace(": ", "\n") for name in found], fontsize=SMALL)
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.xaxis.label.set_size(LABEL)
    beside(figure, ax)
    return figure
