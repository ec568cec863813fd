"""Figures of points: prompts by two numbers each, and which side of a line they fall on.

In the style of plot.py: each function returns a Figure and shows nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import BASE, INK, SMALL, legend, new_figure, styles

Values = Sequence[float]
Points = Mapping[str, tuple[Values, Values]]
MARKERS = "osD^v"  # one per group: groups stay apart without their colors


def scatter(
    points: Points,
    xlabel: str,
    ylabel: str,
    *,
    filled: Mapping[str, Sequence[bool]] | None = None,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    height: float = 4.4,
) -> Figure:
    """Draw name -> (x, y) as points; all full, or those that `filled` marks, the others hollow.

    Points that are not finite are left out. The legend counts the full ones of each group.
    """
    if not points:
        raise ValueError("there are no points to draw.")
    figure, ax = new_figure(xlabel, ylabel, title, height)
    for i, (name, (color, _)) in enumerate(styles(points, colors).items()):
        x, y = (np.asarray(part, dtype=float).ravel() for part in points[name])
        full = np.asarray(filled[name] if filled else np.ones(x.size), dtype=bool)
        if not x.size == y.size == full.size:
            raise ValueError(f"{name!r} has {x.size}, {y.size} and {full.size} values.")
        here = np.isfinite(x) & np.isfinite(y)
        marker, label = MARKERS[i % len(MARKERS)], name
        if filled:
            label = f"{name} ({(full & here).sum()} of {here.sum()})"
        ax.scatter(x[here & ~full], y[here & ~full], 18, facecolors="none", edgecolors=color,
                   linewidths=0.9, alpha=0.75, marker=marker)  # fmt: skip
        ax.scatter(x[here & full], y[here & full], 26, color=color, linewidths=0, alpha=0.85,
                   marker=marker, label=label, zorder=3)  # fmt: skip
    ax.margins(0.03)
    legend(figure, ax)
    return figure


def scope_map(
    points: Points,
    xlabel: str,
    ylabel: str,
    *,
    within: bool = True,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw name -> (scores, thresholds) of prompts: who is answered by a memory, who is not.

    The line is where the score meets the threshold, and the answered side is shaded: a score up to
    the threshold (within: a distance and its radius) or from it on (an activation difference).
    Answered prompts are full, and the legend counts them.
    """
    answered = {
        name: np.less_equal(*pair) if within else np.greater_equal(*pair)
        for name, pair in ((name, tuple(map(np.asarray, pair))) for name, pair in points.items())
    }
    figure = scatter(points, xlabel, ylabel, filled=answered, title=title, colors=colors)
    ax = figure.axes[0]
    ax.set(xlim=(min(ax.get_xlim()[0], 0), None), ylim=(min(ax.get_ylim()[0], 0), None))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    ends = np.array([min(left, bottom), max(right, top)])
    side = top if within else bottom
    ax.plot(ends, ends, color=INK, linewidth=1.2, linestyle="--")
    ax.fill_between(ends, ends, np.maximum(side, ends) if within else np.minimum(side, ends),
                    color=BASE, alpha=0.13, linewidth=0)  # fmt: skip
    ax.set(xlim=(left, right), ylim=(bottom, top))
    place = {"x": 0.015, "y": 0.98, "ha": "left", "va": "top"}
    if not within:
        place = {"x": 0.985, "y": 0.03, "ha": "right", "va": "bottom"}
    ax.text(s="answered by the memory", transform=ax.transAxes, color=INK, fontsize=SMALL, **place)
    return figure
