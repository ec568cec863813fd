"""Figures showing prompts as points, with two numbers each, and the line dividing them.

Every function returns a Figure without showing it, as in `charts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ...errors import ArgumentError
from .style import (
    BASE,
    INK,
    legend,
    new_figure,
    styles,
)

Values = Sequence[float]
Points = Mapping[str, tuple[Values, Values]]
MARKERS = "osD^v"  # one per group, to distinguish groups without their colors


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
    """Draw {name: (x, y)} as points, leaving out points without finite coordinates.

    filled  {name: whether each point is full}; the others are drawn hollow, and the legend counts
            the full points of each group. By default, all are full.
    """
    if not points:
        raise ArgumentError("There are no points to draw.")
    figure, ax = new_figure(xlabel, ylabel, title, height)
    for i, (name, (color, _)) in enumerate(styles(points, colors).items()):
        x, y = (np.asarray(part, dtype=float).ravel() for part in points[name])
        full = np.asarray(filled[name] if filled else np.ones(x.size), dtype=bool)
        if not x.size == y.size == full.size:
            raise ArgumentError(f"{name!r} has {x.size}, {y.size} and {full.size} values.")
        here = np.isfinite(x) & np.isfinite(y)
        marker, label = MARKERS[i % len(MARKERS)], name
        if filled:
            label = f"{name} ({(full & here).sum()} of {here.sum()})"
        ax.scatter(
            x[here & ~full],
            y[here & ~full],
            18,
            facecolors="none",
            edgecolors=color,
            linewidths=0.9,
            alpha=0.35,  # pale, so that the full points among them are visible
            marker=marker,
        )
        ax.scatter(
            x[here & full],
            y[here & full],
            26,
            color=color,
            linewidths=0,
            alpha=0.85,
            marker=marker,
            label=label,
            zorder=3,
        )
    ax.margins(0.03)
    legend(figure, ax)
    return figure


def scope_map(
    points: Points,
    xlabel: str,
    ylabel: str,
    *,
    colors: Mapping[str, str] | None = None,
    top: float | None = None,
) -> Figure:
    """Draw {name: (scores, thresholds)} of prompts, using full points for those a memory answers.

    A memory answers scores up to the threshold, such as a distance and its radius. On the line, the
    score equals the threshold. The answered side is shaded, and the legend counts the prompts
    there.

    top  The end of the vertical axis.
    """
    answered = {
        name: np.less_equal(*pair)
        for name, pair in ((name, tuple(map(np.asarray, pair))) for name, pair in points.items())
    }
    figure = scatter(points, xlabel, ylabel, filled=answered, colors=colors)
    ax = figure.axes[0]
    ax.set(xlim=(min(ax.get_xlim()[0], 0), None), ylim=(min(ax.get_ylim()[0], 0), top))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    ends = np.array([min(left, bottom), max(right, top)])
    ax.plot(ends, ends, color=INK, linewidth=1.2, linestyle="--")
    ax.fill_between(ends, ends, np.maximum(top, ends), color=BASE, alpha=0.13, linewidth=0)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.text(0.015, 0.98, "answered by the memory", ha="left", va="top", transform=ax.transAxes)
    return figure
