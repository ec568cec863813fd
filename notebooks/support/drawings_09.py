"""The drawings of notebook 09: the pipeline of an edit, the training curves, sixty facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle

from lib.evaluation.intervals import interval
from lib.plot.style import (
    BASE,
    CYCLE,
    DIVERGING,
    DPI,
    EDITED,
    EDITORS,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    readable,
)

COLORS = {"plain step": BASE, "trained": EDITED, "regression on k": INK}
COLORS |= {n: EDITORS[n.casefold()] for n in ("MEND", "MALMEN", "RLEdit")}
STRIP = 24  # entries of a vector that are drawn


def pipeline(before: tuple[Sequence, Sequence], after: tuple[Sequence, Sequence]) -> Figure:
    """Draw how MEND turns the pair (k, g) of one token into its part of the change.

    before  The standardized key and gradient that the network reads, of which the first entries
            are drawn.
    after   The pair that it returns.
    """
    figure = Drawing(figsize=(WIDTH, 3.5), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    for x, (k, g), names in (
        (0.9, before, ("$\\hat{k}$", "$\\hat{g}$")),
        (5.3, after, ("$\\tilde{k}$", "$\\tilde{g}$")),
    ):
        for y, values, name in ((2.45, k, names[0]), (0.35, g, names[1])):
            _strip(ax, values, (x, x + 0.35, y, y + 1.8))
            ax.text(x - 0.12, y + 0.9, name, fontsize=LABEL + 3, color=INK, ha="right", va="center")
    _box(ax, 2.3, 1.35, 1.9, 1.9, "network", "reads both,\nchanges both")
    for start, end in (((1.3, 3.3), (2.25, 2.6)), ((1.3, 1.2), (2.25, 2.0))):
        _arrow(ax, start, end)
    for start, end in (((4.25, 2.6), (4.85, 3.3)), ((4.25, 2.0), (4.85, 1.2))):
        _arrow(ax, start, end)
    k, g = (np.asarray(part, dtype=float)[:STRIP] for part in after)
    outer = np.outer(g, k)
    largest = np.abs(outer).max() or 1.0
    ax.imshow(
        outer, cmap=DIVERGING, vmin=-largest, vmax=largest, extent=(7.2, 9.2, 1.3, 3.3), zorder=2
    )
    ax.add_patch(Rectangle((7.2, 1.3), 2.0, 2.0, fill=False, edgecolor=QUIET, linewidth=0.8))
    _arrow(ax, (5.75, 3.3), (7.1, 2.6))
    _arrow(ax, (5.75, 1.2), (7.1, 2.0))
    ax.text(
        8.2, 3.42, "$\\tilde{g}\\,\\tilde{k}^\\top$", fontsize=LABEL + 2, ha="center", color=INK
    )
    ax.text(8.2, 1.12, "one token's part of $\\Delta$", fontsize=SMALL, ha="center", va="top")
    ax.text(10.1, 2.3, "sum over tokens,\ntimes $-\\alpha$", fontsize=SMALL, va="center", color=INK)
    _arrow(ax, (9.3, 2.3), (10.0, 2.3))
    ax.text(1.07, 4.45, "key of a token", fontsize=SMALL, ha="center", color=QUIET)
    ax.text(1.07, 0.12, "its gradient", fontsize=SMALL, ha="center", va="top", color=QUIET)
    ax.text(5.47, 4.45, "new key", fontsize=SMALL, ha="center", color=QUIET)
    ax.text(5.47, 0.12, "new gradient", fontsize=SMALL, ha="center", va="top", color=QUIET)
    ax.set(xlim=(0, 12.2), ylim=(-0.35, 4.8), aspect="equal")
    ax.set_axis_off()
    return figure


def training(found: Mapping[str, tuple[Sequence, Sequence, int]]) -> Figure:
    """Draw validation loss over training steps, one panel per editor, on a log axis.

    found  {name: (steps, loss, the step whose network was kept)}.
    """
    figure = Drawing(figsize=(WIDTH, 2.9), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(found))
    for ax, (name, (steps, loss, best)) in zip(axes, found.items(), strict=True):
        ax.plot(steps, loss, color=COLORS[name], linewidth=1.8)
        at = list(steps).index(best)
        ax.plot(best, loss[at], "o", color=EDITED, markersize=7, zorder=4, clip_on=False)
        low, high = min(loss), max(loss)
        ticks = [t for t in (1, 2, 3, 5, 10, 20, 50, 100) if 0.8 * low < t < 1.2 * high]
        ax.set_yscale("log")
        ax.set_yticks(ticks, ticks)
        ax.minorticks_off()
        ax.set_title(name, fontsize=LABEL, color=INK, loc="left")
        ax.set_xlabel("training steps", fontsize=LABEL, color=INK)
        _plain(ax)
    axes[0].set_ylabel("validation loss", fontsize=LABEL, color=INK)
    dot = {"color": EDITED, "marker": "o", "linestyle": "none", "label": "the network that is kept"}
    _legend(figure, [Line2D([], [], **dot)])
    return figure


def tradeoff(
    curve: Mapping[str, Mapping[str, Sequence[float]]],
    points: Mapping[str, Mapping[str, Sequence[float]]],
    rate_name: str = "α",
) -> Figure:
    """Draw written facts against kept neighbors: a curve over rates, and points beside it.

    curve   {rate: {"written": shares, "neighbors": shares}} of what was not trained.
    points  The same for other editors. Bars are 95 % intervals over facts.
    """
    figure = Drawing(figsize=(WIDTH, 4.4), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    line = []
    for rate, row in curve.items():
        line.append(_cross(ax, row, COLORS["plain step"], "o"))
        place = {"textcoords": "offset points", "fontsize": SMALL, "color": readable(BASE)}
        at, ha = ((4, 9), "left") if line[-1][0] < 10 else ((-6, -14), "right")
        ax.annotate(f"{rate_name} = {rate}", line[-1], at, ha=ha, **place)
    ax.plot(*zip(*line, strict=True), color=COLORS["plain step"], linewidth=1.6)
    for name, row in points.items():
        x, y = _cross(ax, row, COLORS[name], "s")
        style = {"textcoords": "offset points", "fontsize": LABEL, "va": "center"}
        up = -21 if name == "MALMEN" else 11  # it stands close to MEND
        ax.annotate(name, (x, y), (8, up), color=readable(COLORS[name]), **style)
    lowest = min(interval(row["written"])[0] for row in [*curve.values(), *points.values()])
    ax.set(xlim=(-3, 103), ylim=(100 * lowest - 4, 106))
    ax.set_xlabel("neighbors kept (%)", fontsize=LABEL, color=INK)
    ax.set_ylabel("facts written (%)", fontsize=LABEL, color=INK)
    _plain(ax)
    ax.xaxis.grid(True, color=GRID)
    return figure


def sizes(
    names: Sequence[str], found: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]
) -> Figure:
    """Draw shares with their intervals over the size of an update, one panel per question.

    names  The sizes, in the order of the rows.
    found  {editor: one row per size; the last sizes where there are fewer rows}.
    """
    figure = Drawing(figsize=(WIDTH, 3.5), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    panels = {"written": "facts written", "neighbors": "neighbors kept"}
    for ax, (what, title) in zip(axes, panels.items(), strict=True):
        for i, (editor, rows) in enumerate(found.items()):
            x = np.arange(len(names))[-len(rows) :] + 0.09 * (i - (len(found) - 1) / 2)
            ends = [interval(row[what]) for row in rows]
            low, high = zip(*ends, strict=True)
            color = COLORS[editor]
            ax.vlines(x, 100 * np.array(low), 100 * np.array(high), color=color, linewidth=1.4)
            y = [100 * float(np.mean(row[what])) for row in rows]
            ax.plot(x, y, "-o", color=color, markersize=4.5, linewidth=1.4)
        ax.set_xticks(range(len(names)), names)
        ax.set_title(title, fontsize=LABEL, color=INK, loc="left")
        ax.set_xlabel("facts in one update", fontsize=LABEL, color=INK)
        ax.set_ylim(-3, 104)
        _plain(ax)
    axes[0].set_ylabel("share (%)", fontsize=LABEL, color=INK)
    _legend(figure, [Line2D([], [], color=COLORS[name], label=name) for name in found])
    return figure


def _cross(ax: Axes, row: Mapping[str, Sequence[float]], color: str, marker: str) -> tuple:
    """Draw one point with both its intervals; return it."""
    x, y = (100 * float(np.mean(row[name])) for name in ("neighbors", "written"))
    (left, right), (low, high) = (interval(row[name]) for name in ("neighbors", "written"))
    ax.hlines(y, 100 * left, 100 * right, color=color, linewidth=1.1, alpha=0.7)
    ax.vlines(x, 100 * low, 100 * high, color=color, linewidth=1.1, alpha=0.7)
    ax.plot(x, y, marker, color=color, markersize=6, zorder=4)
    return x, y


def _strip(ax: Axes, values: Sequence, extent: tuple) -> None:
    part = np.asarray(values, dtype=float)[:STRIP, None]
    largest = np.abs(part).max() or 1.0
    ax.imshow(part, cmap=DIVERGING, vmin=-largest, vmax=largest, extent=extent, aspect="auto")
    left, right, low, high = extent
    frame = {"fill": False, "edgecolor": QUIET, "linewidth": 0.8}
    ax.add_patch(Rectangle((left, low), right - left, high - low, **frame))


def _box(ax: Axes, x: float, y: float, width: float, height: float, name: str, below: str) -> None:
    box = {"boxstyle": "round,pad=0.05", "facecolor": "#eceff2", "edgecolor": CYCLE[0]}
    ax.add_patch(FancyBboxPatch((x, y), width, height, **box))
    middle = x + width / 2
    ax.text(middle, y + 0.68 * height, name, fontsize=LABEL, ha="center", va="center", color=INK)
    text = {"fontsize": SMALL, "ha": "center", "va": "center", "color": QUIET}
    ax.text(middle, y + 0.3 * height, below, **text)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.3}
    ax.annotate("", end, start, arrowprops=style)


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(which="both", labelsize=SMALL, colors=QUIET, labelcolor=INK)
    ax.yaxis.grid(True, color=GRID)
    ax.set_axisbelow(True)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
