"""Figures that several notebooks share, and the parts that their drawings are made of.

Sizes, spines and colors are those of the library's style sheet (lib/workbench/plot/style.py). Each figure is
returned, and nothing is shown by itself.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lib.workbench.plot.style import (
    BASE,
    CYCLE,
    EDITED,
    GRID,
    HEIGHT,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    editor_color,
    styles,
    token_text,
)

MARKERS = "osD^vP"
MIDDLE = {"ha": "center", "va": "center"}  # of a text
THIN = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "mutation_scale": 11}  # an arrow
NOTHING = "#dfe3e8"  # of a raster: not written yet


# ---- parts ---------------------------------------------------------------------------------------


def panels(
    columns: int = 1, rows: int = 1, *, height: float = HEIGHT, titles: Iterable = (), **how: Any
) -> tuple[Figure, np.ndarray]:
    """A figure (height in inches) and the axes of its plots, row by row; `how` as for subplots."""
    figure = Drawing(figsize=(WIDTH, height))
    axes = figure.subplots(rows, columns, squeeze=False, **how).ravel()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=LABEL)
    return figure, axes


def plain(ax: Axes) -> None:
    """Horizontal lines behind the data, as in the library's figures."""
    ax.yaxis.grid(True)


def bare(ax: Axes) -> None:
    """Leave the names of the axes and nothing else of them."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def token_ticks(axis: Axis, tokens: Sequence[str], numbered: bool = False, **look: Any) -> None:
    """Write tokens along an axis, at 0, 1, …; a "$" among them begins no formula."""
    texts = [f"{i} " * numbered + token_text(token) for i, token in enumerate(tokens)]
    axis.set_ticks(range(len(tokens)), texts)
    for text in axis.get_ticklabels():
        text.set(parse_math=False, **look)


def arrow(
    ax: Axes, end: Sequence[float], color: str, start: Sequence[float] = (0, 0), **look: Any
) -> None:
    """Draw a vector, from the origin where no other start is given."""
    shape = {"arrowstyle": "-|>", "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    shape |= {"mutation_scale": 15, "color": color} | look
    ax.annotate("", end, start, arrowprops=shape, zorder=4)


def box(ax: Axes, at: Sequence[float], size: Sequence[float], color: str, name: str, ink: str,
        below: str = "") -> None:  # fmt: skip
    """Draw a rounded box with a name and perhaps a smaller line below it."""
    look = {"boxstyle": "round,pad=0.03", "facecolor": color, "linewidth": 1, "edgecolor": QUIET}
    ax.add_patch(FancyBboxPatch(at, *size, **look))
    x, y = at[0] + size[0] / 2, at[1] + size[1] / 2
    ax.text(x, y + 0.17 * bool(below), name, fontsize=LABEL, color=ink, **MIDDLE)
    ax.text(x, y - 0.2, below, color=ink, **MIDDLE)


def legend(
    figure: Figure, handles: Iterable, names: Iterable[str], columns: int = 4, **look: Any
) -> Figure:
    """Put a legend below all plots; a color in the place of a handle becomes a patch of it."""
    made = [Rectangle((0, 0), 1, 1, color=one) if isinstance(one, str) else one for one in handles]
    if made and isinstance(made[0], Rectangle):
        look = {"handlelength": 1, "handleheight": 1} | look
    figure.legend(made, list(names), **{"loc": "outside lower center", "ncols": columns} | look)
    return figure


def colorbar(figure: Figure, image: Any, axes: Iterable, label: str, **look: Any) -> Colorbar:
    """Add the scale of the colors of an image, without a frame."""
    bar = figure.colorbar(image, ax=list(axes), **look)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


# ---- figures -------------------------------------------------------------------------------------


def rasters(
    x: Sequence[int],
    rights: Mapping[str, Sequence[str]],
    xlabel: str,
    ylabel: str,
    *,
    columns: int = 4,
) -> Figure:
    """Draw one panel per name: edits as rows, the first at the top, and turns as columns.

    Each column is a string of "1" and "0" with a character per edit written so far. Cells of edits
    that are written later stay light.

    x  edits after each turn: a turn's column ends there and begins where the turn before it ended
    """
    rows = math.ceil(len(rights) / columns)
    figure, axes = panels(columns, rows, height=1.9 * rows + 0.8, sharex=True, sharey=True)
    figure.supxlabel(xlabel, fontsize=LABEL)
    figure.supylabel(ylabel, fontsize=LABEL)
    for i, ax in enumerate(axes):
        if i >= len(rights):
            ax.set_axis_off()
        elif i >= len(rights) - columns:
            ax.tick_params(labelbottom=True)
    width = max(len(text) for texts in rights.values() for text in texts)
    shades, edges = {"1": EDITED, "0": INK}, [0, *x]
    for ax, (name, texts) in zip(axes, rights.items(), strict=False):
        for left, right, text in zip(edges, x, texts, strict=False):
            for row in range(width):
                color = shades[text[row]] if row < len(text) else NOTHING
                ax.barh(row + 1, right - left, 0.86, left, color=color, linewidth=0)
        ax.set_title(name, fontsize=SMALL, pad=4)
        ax.set(ylim=(width + 0.6, 0.4), xlim=(-0.01 * x[-1], 1.01 * x[-1]))
        ax.set_xticks(edges[:: 1 if len(texts) <= 8 else 2])
        ax.set_yticks([1, *range(width // 3, width + 1, max(1, width // 3))])
        ax.tick_params(length=0)
    colors = {"says it": EDITED, "does not": INK, "not written yet": NOTHING}
    return legend(figure, colors.values(), colors, 3, loc="outside upper center")


def whiskers(
    names: Sequence[str],
    found: Mapping[str, Sequence[tuple[float, float, float]]],
    xlabel: str,
    height: float | None = None,
) -> Figure:
    """One row per name, one point with its interval per series: (mean, low, high)."""
    figure, (ax,) = panels(height=height or 0.46 * len(names) + 1.1)
    shift = np.linspace(-0.24, 0.24, len(found)) if len(found) > 1 else [0.0]
    for i, (series, values) in enumerate(found.items()):
        mean, low, high = np.array(values, dtype=float).T
        y = np.arange(len(names)) + shift[i]
        ax.hlines(y, low, high, color=CYCLE[i], linewidth=1.6)
        ax.plot(mean, y, MARKERS[i], color=CYCLE[i], markersize=5.5, label=series)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.xaxis.grid(True)
    for edge in np.arange(0.5, len(names) - 1):
        ax.axhline(edge, color=GRID, linewidth=0.8)
    if len(found) < 2:
        return figure
    return legend(figure, *ax.get_legend_handles_labels(), len(found))


def dots(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    labels: Sequence[str],
    log: Sequence[str] = (),
    *,
    joined: bool = False,
    flat: bool = False,
    from_zero: bool = False,
) -> Figure:
    """Draw one column of marks per name, or one row.

    found   {panel: {name: one value per fact or stream}}; rows may be missing in a panel.
    labels  The names of the facts or streams, () for none.
    log     The panels with a logarithmic axis.
    joined  A thin line through the marks of each, where names stand in an order.
    flat    Rows, for names that are long and for differences.
    from_zero  The axis of rows begins at 0, unless there are values below.
    """
    names = list(dict.fromkeys(name for columns in found.values() for name in columns))
    height = 0.4 * len(names) + 1.5 if flat else 3.4
    figure, axes = panels(len(found), height=height, sharey=flat)
    for ax, (what, columns) in zip(axes, found.items(), strict=True):
        values = np.array(list(columns.values()), dtype=float)
        where = np.array([names.index(name) for name in columns] if flat else range(len(columns)))
        for i, line in enumerate(values.T):
            look = {"color": CYCLE[i % len(CYCLE)] if labels else BASE, "linewidth": 1}
            aside = (i - (len(values.T) - 1) / 2) * bool(labels)  # marks side by side
            mark = "-" * joined + (MARKERS[i % len(MARKERS)] if labels else "o")
            pair = (
                (line, where + min(0.16, 0.8 / len(values.T)) * aside)
                if flat
                else (where + 0.06 * aside, line)
            )
            ax.plot(*pair, mark, markersize=6, alpha=0.85, **look)
        scale = "log" if what in log else "linear"
        if flat:
            ax.set(xscale=scale, xlabel=textwrap.fill(what, 60 // len(found)))
            ax.xaxis.grid(True)
            ax.xaxis.set_minor_formatter(NullFormatter())
            if from_zero and values.min() >= 0:
                ax.set_xlim(left=0)
            if values.min() < 0:  # differences
                ax.axvline(0, color=QUIET, linewidth=1, zorder=0)
            continue
        ax.set_xticks(where, columns, rotation=25, ha="right", rotation_mode="anchor")
        ax.set(yscale=scale, ylabel=textwrap.fill(what, 26), xlim=(-0.4, len(columns) - 0.6))
        plain(ax)
    if flat:
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.5, -0.5)
    return legend(figure, axes[0].lines[: len(labels)], labels, columns=3) if labels else figure


def curves(
    plots: Mapping[str, Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]],
    xlabel: str,
    ylabel: str = "",
    *,
    log: Sequence[str] = (),
    xlog: bool = False,
    mean: bool = False,
    best: bool | Sequence[str] = False,
    mark: int | None = None,
    colors: Mapping[str, str] | None = None,
    **axis: Any,
) -> Figure:
    """Draw panels of lines: {panel: {name: (x, y) of each fact or stream}}, one color per name.

    A panel's name is its title, or the name of its upright axis where `ylabel` is empty.

    log   The panels whose upright axis is logarithmic.
    mean  Facts are thin, and on them lies their mean (on a logarithmic axis the median).
    best  The smallest value of each line gets a ring; or the panels where it does.
    mark  A layer that gets an upright line.
    axis  More of all axes, as for `ax.set`.
    """
    shared = {"titles": plots, "sharey": True} if ylabel else {}
    figure, axes = panels(len(plots), height=HEIGHT + 0.4, **shared)
    names = dict.fromkeys(name for lines in plots.values() for name in lines)
    looks = styles(names, colors, {name: "--" if "yours" in name else "-" for name in names})
    ring = {"marker": "o", "markerfacecolor": "white", "linestyle": "none", "zorder": 3}
    handles: dict[str, Any] = {}
    for ax, (panel, lines) in zip(axes, plots.items(), strict=True):
        logarithmic = panel in log
        for name, pairs in lines.items():
            color, dash = looks[name]
            thin = {"linewidth": 0.8, "alpha": 0.3} if mean else {"linewidth": 1.5, "alpha": 0.85}
            for x, y in pairs:
                point = "" if len(y) > 1 else "o" if mean else "X"
                size = 4 if mean else 8
                (handles[name],) = ax.plot(x, y, dash + point, color=color, markersize=size, **thin)
                if best and (best is True or panel in best):
                    at = int(np.argmin(y))
                    ax.plot(x[at], y[at], color=color, markersize=7, **ring)
            if mean:
                middle = (np.median if logarithmic else np.mean)([y for _, y in pairs], 0)
                look = {"color": color, "linestyle": dash, "marker": "o", "markersize": 4}
                (handles[name],) = ax.plot(pairs[0][0], middle, **look)
        if mark is not None:
            ax.axvline(mark, color=QUIET, linewidth=1, linestyle=":")
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            ax.annotate(f"layer {mark}", (mark, 1), (0, 2), ha="center", fontsize=SMALL, **place)
        scales = ["log" if there else "linear" for there in (xlog, logarithmic)]
        ax.set(xlabel=xlabel, ylabel="" if ylabel else panel, xscale=scales[0], yscale=scales[1])
        ax.set(**axis)
        if not xlog:
            ticks = MaxNLocator(9 if len(plots) < 3 else 5, integer=True, steps=(1, 2, 5, 10))
            ax.xaxis.set_major_locator(ticks)
        low, high = ax.get_ylim()
        fine = (1, 2, 5) if high < 1e4 * low else (1,)
        for kind, there, steps in ((ax.xaxis, xlog, (1, 3)), (ax.yaxis, logarithmic, fine)):
            if there:
                kind.set_major_locator(LogLocator(subs=steps))
                kind.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                kind.set_minor_formatter(NullFormatter())
        plain(ax)
    axes[0].set_ylabel(ylabel or axes[0].get_ylabel())
    if best:
        handles["minimum of each line"] = Line2D([], [], color=QUIET, **ring)
    return legend(figure, handles.values(), handles)


def tradeoff(
    plots: Mapping[str, Mapping[str, Sequence[Sequence[Sequence[float]]]]],
    xlabel: str,
    ylabel: str,
    colors: Mapping[str, str],
    marks: Mapping[str, str] | None = None,
    **axis: Any,
) -> Figure:
    """Draw what lines get against what they pay: large marks are means, small ones streams.

    plots   {title: {line: settings}}; a setting has one (x, y) for each stream.
    colors, marks  {line: color, or marker}; others have an editor's color or those of the style.
    axis    More of the axes, as for `ax.set`.
    """
    figure, axes = panels(len(plots), height=4.6, titles=plots, sharex=True, sharey=True)
    names = list(dict.fromkeys(line for lines in plots.values() for line in lines))
    for ax, lines in zip(axes, plots.values(), strict=True):
        for line, settings in lines.items():
            at = names.index(line)
            whose = line.removesuffix(", yours")
            color = colors.get(whose) or editor_color(whose) or CYCLE[at % len(CYCLE)]
            found = np.array(settings, dtype=float)  # (settings, streams, 2)
            mark = (marks or {}).get(whose) or MARKERS[at % len(MARKERS)]
            look = {"color": color, "marker": mark}
            if whose != line:
                look |= {"markerfacecolor": "none"}
            if found.shape[1] > 1:
                small = {"linestyle": "", "markersize": 4, "alpha": 0.5}
                ax.plot(*found.reshape(-1, 2).T, **look, **small)
            ax.plot(*found.mean(1).T, "-", markersize=8, label=line, **look)
        ax.set(xlabel=xlabel, **axis)
        ax.grid(True)
    axes[0].set_ylabel(ylabel)
    handles = {x: y for ax in axes for y, x in zip(*ax.get_legend_handles_labels(), strict=True)}
    return legend(figure, handles.values(), handles)


def bars(
    names: Sequence[str],
    plots: Mapping[str, Mapping[str, Sequence[float]]],
    colors: Mapping[str, str],
) -> Figure:
    """Draw one panel per quantity, and in it one bar per name and line: {quantity: {line: values}}.

    A line that ends in ", yours" has the color of its other one and is not filled.
    """
    figure, axes = panels(len(plots), height=4.2, sharey=True)
    place = np.arange(len(names))
    for ax, (what, lines) in zip(axes, plots.items(), strict=True):
        width = 0.8 / len(lines)
        for i, (line, values) in enumerate(lines.items()):
            whose = line.removesuffix(", yours")
            color = colors.get(whose) or editor_color(whose) or BASE
            look = {"fill": whose == line, "edgecolor": color, "linestyle": "--"}
            look |= {"facecolor": color, "linewidth": 0.0} if whose == line else {"linewidth": 1.2}
            ax.barh(place + (i + 0.5) * width - 0.4, values, 0.9 * width, label=line, **look)
        ax.set(xlabel=what, ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(place, names)
        ax.xaxis.grid(True)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(2, len(lines)))
    return figure
