"""Figures that several notebooks share, in the library's style, and the parts of them.

Each figure is returned, and nothing is shown by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.plot.style import (
    COLORS,
    CYCLE,
    DPI,
    EDITED,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
)

MARKERS = "osD^"
NOTHING = "#dfe3e8"  # of a raster: not written yet


def rasters(
    x: Sequence[int],
    rights: Mapping[str, Sequence[str]],
    xlabel: str,
    ylabel: str,
    *,
    columns: int = 4,
) -> Figure:
    """Draw one panel per name: edits as rows, the first at the top, and time as columns.

    Each column is a string of "1" and "0" with a character per edit written so far. Cells of edits
    that are written later stay light.
    """
    figure, axes = _grid(len(rights), columns, 1.9, xlabel, ylabel)
    width = max(len(text) for texts in rights.values() for text in texts)
    shades = {"1": EDITED, "0": INK}
    for ax, (name, texts) in zip(axes, rights.items(), strict=False):
        for column, text in enumerate(texts):
            for row in range(width):
                color = shades[text[row]] if row < len(text) else NOTHING
                ax.bar(column, 0.86, 1.0, bottom=row + 0.57, color=color, linewidth=0)
        plain(ax)
        ax.set_title(name, fontsize=SMALL, color=INK, loc="left", pad=4)
        ax.yaxis.grid(False)
        ax.set(ylim=(width + 0.6, 0.4), xlim=(-0.55, len(texts) - 0.45))
        step = 1 if len(texts) <= 8 else 2
        ax.set_xticks(range(0, len(texts), step), x[::step])
        ax.set_yticks([1, *range(width // 3, width + 1, max(1, width // 3))])
        ax.tick_params(length=0)
    handles = [
        Line2D([], [], color=color, linewidth=7, label=label)
        for label, color in (("says it", EDITED), ("does not", INK), ("not written yet", NOTHING))
    ]
    return _legend(figure, handles, "outside upper center")


def whiskers(
    names: Sequence[str],
    found: Mapping[str, Sequence[tuple[float, float, float]]],
    xlabel: str,
    *,
    colors: Mapping[str, str] | None = None,
    height: float | None = None,
) -> Figure:
    """One row per name, one point with its interval per series: (mean, low, high)."""
    figure = Drawing(
        figsize=(WIDTH, height or 0.46 * len(names) + 1.1),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    ax = figure.add_subplot()
    colors = colors or dict(zip(found, CYCLE, strict=False))
    shift = np.linspace(-0.24, 0.24, len(found)) if len(found) > 1 else [0.0]
    for i, (series, values) in enumerate(found.items()):
        mean, low, high = np.array(values, dtype=float).T
        y = np.arange(len(names)) + shift[i]
        ax.hlines(y, low, high, color=colors[series], linewidth=1.6)
        ax.plot(mean, y, MARKERS[i], color=colors[series], markersize=5.5, label=series)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(xlabel, fontsize=LABEL, color=INK)
    plain(ax)
    ax.yaxis.grid(False)
    ax.xaxis.grid(True, color=GRID)
    for edge in np.arange(0.5, len(names) - 1):
        ax.axhline(edge, color=GRID, linewidth=0.8)
    if len(found) < 2:
        return figure
    return _legend(figure, ax.get_legend_handles_labels()[0], "outside lower center")


def plain(ax: Axes) -> None:
    """Two quiet axes and horizontal lines behind the data, as in the library's figures."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(which="both", labelsize=SMALL, colors=QUIET, labelcolor=INK)
    ax.yaxis.grid(True, color=GRID)
    ax.set_axisbelow(True)


def arrow(ax: Axes, end: tuple[float, float], color: str) -> None:
    """Draw a vector from the origin."""
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, (0, 0), arrowprops={**look, "mutation_scale": 15}, zorder=4)


def _grid(count: int, columns: int, height: float, xlabel: str, ylabel: str) -> tuple:
    rows = math.ceil(count / columns)
    figure = Drawing(
        figsize=(WIDTH, height * rows + 0.8), dpi=DPI, facecolor="white", layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    for ax in axes[max(0, count - columns) : count]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel(xlabel, fontsize=LABEL, color=INK)
    figure.supylabel(ylabel, fontsize=LABEL, color=INK)
    return figure, axes


def _legend(figure: Figure, handles: Sequence, where: str) -> Figure:
    figure.legend(
        handles=handles,
        loc=where,
        ncols=len(handles),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
    return figure


EDITOR_COLORS = {
    "held": EDITED,
    "next word, neighbors": COLORS["neighbor"],
    "next word, unrelated": COLORS["unrelated"],
}
