"""These figures draw prompts as points, by two numbers each, and the line that divides them.

Every function returns a Figure and shows nothing by itself, as in `charts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import (
    BASE,
    EDITED,
    INK,
    NEIGHBOR,
    QUIET,
    WIDTH,
    Drawing,
    legend,
    new_figure,
    short,
    styles,
)

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
    """Draw {name: (x, y)} as points; points that are not finite are left out.

    filled  {name: whether each point is full}; the others are drawn hollow, and the legend counts
            the full ones of each group. By default all are full.
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
        ax.scatter(
            x[here & ~full],
            y[here & ~full],
            18,
            facecolors="none",
            edgecolors=color,
            linewidths=0.9,
            alpha=0.35,  # pale, so that the full ones among them can be seen
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
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    top: float | None = None,
) -> Figure:
    """Draw {name: (scores, thresholds)} of prompts, those that a memory answers as full points.

    A memory answers scores up to the threshold, such as a distance and its radius. On the line the
    score equals the threshold. The side that is answered is shaded, and the legend counts the
    prompts there.

    top  The end of the upright axis.
    """
    answered = {
        name: np.less_equal(*pair)
        for name, pair in ((name, tuple(map(np.asarray, pair))) for name, pair in points.items())
    }
    figure = scatter(points, xlabel, ylabel, filled=answered, title=title, colors=colors)
    ax = figure.axes[0]
    ax.set(xlim=(min(ax.get_xlim()[0], 0), None), ylim=(min(ax.get_ylim()[0], 0), top))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    ends = np.array([min(left, bottom), max(right, top)])
    ax.plot(ends, ends, color=INK, linewidth=1.2, linestyle="--")
    ax.fill_between(ends, ends, np.maximum(top, ends), color=BASE, alpha=0.13, linewidth=0)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.text(0.015, 0.98, "answered by the memory", ha="left", va="top", transform=ax.transAxes)
    return figure


def overlap(rho: float, length: float, names: tuple[str, str], points: Points) -> Figure:
    """Draw two keys, and the changes that an edit at the first makes elsewhere.

    On the left are the whitened keys in the plane that they span, in units of the first one's
    length. On the right are the predicted and the measured changes, in % of the edit.

    rho     The foot of the second key on the first.
    length  The length of the second key.
    names   The names of the two keys.
    points  {name: (predicted, measured)} of two groups; the first group is the second key alone.
    """
    figure = Drawing(figsize=(WIDTH, 3.9))
    plane, ax = figure.subplots(1, 2)
    for one in (plane, ax):
        one.grid(True)
    height = max(length**2 - rho**2, 0) ** 0.5
    plane.plot([rho, rho], [0, height], "--", color=QUIET, linewidth=1)
    for x, y, color in ((1, 0, EDITED), (rho, height, NEIGHBOR)):
        arrow = {
            "arrowstyle": "-|>",
            "color": color,
            "linewidth": 2.2,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 16,
        }
        plane.annotate("", (x, y), (0, 0), arrowprops=arrow)
    plane.plot(rho, 0, "o", color=INK, markersize=5, zorder=5)
    left, right = min(rho, 0) - 0.08, max(rho, 1) + 0.08
    plane.annotate(
        f"ρ = {rho:.2f}",
        (rho, 0),
        (0, -7),
        textcoords="offset points",
        va="top",
        ha="left" if rho < 0.5 else "right",
    )
    top = max(height, 0.4)
    plane.set(xlim=(left, right), ylim=(-0.18 * top, 1.1 * top), aspect="equal", anchor="C")
    plane.set_xlabel("along key i (its own length is 1)")
    plane.set_ylabel("across")
    ends = 1.08 * max([*(v for pair in points.values() for side in pair for v in side), 1e-9])
    ax.plot([0, ends], [0, ends], "--", color=BASE, linewidth=1.2)
    looks = (NEIGHBOR, 52, 4), (BASE, 20, 3)  # color, size, who lies on top
    for (name, (xs, ys)), (color, size, order) in zip(points.items(), looks, strict=True):
        ax.scatter(xs, ys, size, color=color, linewidths=0, alpha=0.9, zorder=order, label=name)
    ax.set(xlim=(0, ends), ylim=(0, ends))
    ax.set_xlabel("change, predicted (% of the edit)")
    ax.set_ylabel("measured (%)")
    first, *rest = ax.get_legend_handles_labels()[0]
    marks = [Line2D([], [], color=EDITED, linewidth=2.2), first, *rest]
    texts = [f"i: {short(names[0])}", f"j: {short(names[1])}", *list(points)[1:]]
    figure.legend(marks, texts, loc="outside lower center", ncols=len(texts))
    for text in figure.legends[0].get_texts():
        text.set_parse_math(False)
    return figure
