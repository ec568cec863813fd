"""The figure of notebook 09: facts written against neighbors kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.evaluation.intervals import interval
from lib.workbench.plot.style import BASE, EDITED, LABEL, editor_color, readable

from .figures import panels


def tradeoff(
    curve: Mapping[str, Mapping[str, Sequence[float]]],
    points: Mapping[str, Mapping[str, Sequence[float]]],
    rate_name: str = "plain step, α",
) -> Figure:
    """Draw written facts against kept neighbors: a curve over rates, and points beside it.

    curve   {rate: {"written": shares, "neighbors": shares}} of what was not trained.
    points  The same for other editors. Bars are 95 % intervals over facts.
    """
    figure, (ax,) = panels(height=4.4)
    line, place = [], {"textcoords": "offset points"}
    for rate, row in curve.items():
        line.append(_cross(ax, row, BASE, "o"))
        at, ha = ((4, 9), "left") if line[-1][0] < 10 else ((-6, -14), "right")
        ax.annotate(f"{rate_name} = {rate}", line[-1], at, ha=ha, color=readable(BASE), **place)
        rate_name = rate_name[-1]  # the whole name once
    ax.plot(*zip(*line, strict=True), color=BASE, linewidth=1.6)
    for name, row in points.items():
        color = editor_color(name) or EDITED
        x, y = _cross(ax, row, color, "s")
        at = 8, -21 if name == "MALMEN" else 11  # it stands close to MEND
        ax.annotate(name, (x, y), at, color=readable(color), fontsize=LABEL, va="center", **place)
    lowest = min(interval(row["written"])[0] for row in [*curve.values(), *points.values()])
    ax.set(xlim=(-3, 103), xlabel="neighbors kept (%)")
    ax.set(ylim=(100 * lowest - 4, 106), ylabel="facts written (%)")
    ax.grid(True)
    return figure


def _cross(ax: Axes, row: Mapping[str, Sequence[float]], color: str, marker: str) -> tuple:
    """Draw one point with both its intervals; return it."""
    found = ([np.mean(row[name]), *interval(row[name])] for name in ("neighbors", "written"))
    (x, left, right), (y, low, high) = (100 * np.array(one) for one in found)
    ends = [[y - low], [high - y]], [[x - left], [right - x]]
    ax.errorbar(x, y, *ends, fmt=marker, color=color, markersize=6, elinewidth=1.1, zorder=4)
    return x, y
