"""Curves are figures of series over an axis: edits, layers or steps.

Every function returns a Figure without showing it, as in `charts`. Most of them call `lines`, then
add to its axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ...errors import ArgumentError
from .style import (
    BASE,
    CYCLE,
    EDITED,
    HEIGHT,
    INK,
    NEIGHBOR,
    QUIET,
    UNRELATED,
    name_ends,
    new_figure,
    readable,
    styles,
)

Values = Sequence[float]


def lines(
    x: Values | Mapping[str, Values],
    series: Mapping[str, Values],
    xlabel: str,
    ylabel: str,
    *,
    bands: Mapping[str, tuple[Values, Values]] | None = None,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    dashes: Mapping[str, str] | None = None,
    xlog: bool = False,
    ylog: bool = False,
    ylim: tuple[float, float] | None = None,
    height: float = HEIGHT,
    named: bool = True,
) -> Figure:
    """Draw {name: y} over x, naming each line at its end, or in a legend if the names do not fit.

    x       The shared axis, or {name: x} with an axis for each line.
    series  {name: y}; None and NaN are gaps.
    bands   {name: (low, high)}, drawn as a shade.
    colors  {name: color}, overriding the style's.
    dashes  {name: dash}, overriding the style's.
    height  In inches.
    named   With False, the caller names the lines.
    """
    if not series:
        raise ArgumentError("There is no series to draw.")
    figure, ax = new_figure(xlabel, ylabel, title, height)
    style = styles(series, colors, dashes)
    ends = []
    for name, values in series.items():
        here = np.asarray(x[name] if isinstance(x, Mapping) else x, dtype=float)
        y = np.asarray(values, dtype=float)
        if here.shape != y.shape:
            raise ArgumentError(f"{name!r} has {y.size} values, but x has {here.size}.")
        color, dash = style[name]
        marker = "o" if y.size <= 16 else None
        ax.plot(here, y, dash, color=color, marker=marker, label=name)
        if bands and name in bands:
            low, high = (np.asarray(side, dtype=float) for side in bands[name])
            ax.fill_between(here, low, high, color=color, alpha=0.15, linewidth=0)
        if np.isfinite(y).any():
            last = np.flatnonzero(np.isfinite(y))[-1]
            ends.append((name, here[last], y[last], color))
    ax.set(xscale="log" if xlog else "linear", yscale="log" if ylog else "linear")
    ax.margins(x=0.02)
    if ylim is not None:
        ax.set_ylim(ylim)
    every = np.concatenate([np.ravel(line.get_xdata()) for line in ax.lines])
    if xlog:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif np.all(every == np.round(every)):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if named and len(series) > 1:
        name_ends(figure, ax, ends)
    return figure


def layer_curve(
    layers: Sequence[int],
    values: Mapping[str, Values],
    ylabel: str,
    highlight: int | Iterable[int] | None = None,
    *,
    bands: Mapping[str, tuple[Values, Values]] | None = None,
) -> Figure:
    """Draw {name: one value per layer}; `highlight` shades one or several layers."""
    figure = lines(layers, values, "layer", ylabel, bands=bands)
    _highlight(figure.axes[0], highlight)
    return figure


def rank_over_layers(
    layers: Sequence[int],
    ranks: Mapping[str, Values],
    *,
    before: Mapping[str, Values] | None = None,
    highlight: int | Iterable[int] | None = None,
) -> Figure:
    """Draw the rank of two answers in the vocabulary after every layer; rank 1 is at the top.

    ranks      {answer: rank after each layer}, the old answer first (gray), then the new (orange).
    before     The same answers in the base model, drawn dashed.
    highlight  The edited layer or layers, drawn with shading.
    """
    colors = dict(zip(ranks, (BASE, EDITED, *CYCLE), strict=False))
    series, dashes = dict(ranks), {}
    for name, values in (before or {}).items():
        series[f"{name}, before"] = values
        colors[f"{name}, before"], dashes[f"{name}, before"] = colors.get(name, QUIET), "--"
    figure = lines(
        layers,
        series,
        "layer",
        "rank in the vocabulary",
        colors=colors,
        dashes=dashes,
        ylog=True,
        ylim=(1.6 * max(np.nanmax(np.asarray(v, dtype=float)) for v in series.values()), 0.75),
    )
    ax = figure.axes[0]
    ax.yaxis.set_major_formatter(FuncFormatter(lambda rank, _: f"{rank:,.0f}"))
    ax.yaxis.set_minor_locator(NullLocator())
    _highlight(ax, highlight)
    return figure


def loss_curve(rows: Any, *, ylog: bool = False) -> Figure:
    """Draw the loss of an optimization and its terms over the steps, in nats.

    rows  A DataFrame or a list of dicts, one per step, with any of the columns total, nll, kl and
          decay, and with step if the steps are not 0, 1, 2, …
    """
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
    terms = {"total": "total", "nll": "new answer", "kl": "KL", "decay": "decay"}
    names = {name: shown for name, shown in terms.items() if rows and name in rows[0]}
    return lines(
        [row.get("step", i) for i, row in enumerate(rows)],
        {shown: [row[name] for row in rows] for name, shown in names.items()},
        "optimization step",
        "loss (nats)",
        colors=dict(zip(terms.values(), (INK, EDITED, NEIGHBOR, UNRELATED), strict=True)),
        dashes={"total": "--"},
        ylog=ylog,
    )


def _highlight(ax: Axes, layers: int | Iterable[int] | None) -> None:
    """Shade layers and name them above the axes."""
    if layers is None:
        return
    chosen = sorted({layers} if isinstance(layers, int) else set(layers))
    for layer in chosen:
        ax.axvspan(layer - 0.5, layer + 0.5, color=EDITED, alpha=0.12, linewidth=0)
    if len(chosen) == 1:
        text = f"layer {chosen[0]}"
    elif chosen[-1] - chosen[0] == len(chosen) - 1:
        text = f"layers {chosen[0]}–{chosen[-1]}"
    else:
        text = "layers " + ", ".join(map(str, chosen))
    ax.text(
        (chosen[0] + chosen[-1]) / 2,
        1.01,
        text,
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="bottom",
        color=readable(EDITED),
    )
    if title := ax.get_title(loc="left"):
        ax.set_title(title, pad=20, parse_math=False)
