"""One function per figure; each returns a Figure and shows nothing by itself.

Figures are made without pyplot, so nothing global is kept and any thread may draw. The last line
of a notebook cell shows one (it renders itself as PNG); `figure.savefig(path)` saves it. Colors
and sizes come from style.py: series named "base", "edited", "neighbor" or "unrelated" have a color
of their own everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from .style import (
    BASE,
    COLORS,
    CYCLE,
    DIVERGING,
    EDITED,
    GRID,
    HEIGHT,
    INK,
    LABEL,
    NEIGHBOR,
    QUIET,
    SEQUENTIAL,
    SMALL,
    TITLE,
    UNRELATED,
    column_names,
    contrast,
    digits,
    every_nth,
    legend,
    name_ends,
    new_figure,
    readable,
    short,
    styles,
    token_text,
)

Values = Sequence[float]


def token_bars(
    before: Sequence[tuple[str, float]],
    after: Sequence[tuple[str, float]],
    title: str | None = None,
) -> Figure:
    """Draw next-token probabilities of the base and the edited model as pairs of bars.

    Both lists hold (token, probability) with the same tokens in the same order; the first stands
    at the top. A leading space of a token is shown as "␣". ValueError if the tokens differ.
    """
    tokens = [token for token, _ in before]
    if tokens != [token for token, _ in after]:
        raise ValueError("before and after must name the same tokens in the same order.")
    height = 0.42 * len(tokens) + 1.2
    figure, ax = new_figure("probability of the next token", "next token", title, height)
    at = np.arange(len(tokens))
    highest = 0.0
    for name, pairs, shift in (("base", before, -0.2), ("edited", after, 0.2)):
        p = np.array([value for _, value in pairs], dtype=float)
        highest = max(highest, p.max(initial=0.0))
        ax.barh(at + shift, p, height=0.36, color=COLORS[name], label=name)
        for y, value in zip(at + shift, p, strict=True):
            text = "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"
            _note(ax, text, value, y, COLORS[name])
    ax.set_yticks(at, [token_text(token) for token in tokens])
    for text in ax.get_yticklabels():
        text.set_parse_math(False)  # "$" is a token too
    ax.set(ylim=(len(tokens) - 0.5, -0.5), xlim=(0, 1.12 * highest or 1))
    ax.yaxis.grid(False)
    ax.xaxis.grid(True, color=GRID)
    legend(figure, ax)
    return figure


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
    """Draw name -> y over x, each line named at its end (in a legend when the names do not fit).

    `x` is shared, or a mapping with one sequence per name. None and NaN are gaps. `bands` holds
    name -> (low, high), drawn as a shade. `colors` and `dashes` override the style by name.
    `height` is in inches. named=False leaves the names to the caller.
    """
    if not series:
        raise ValueError("there is no series to draw.")
    figure, ax = new_figure(xlabel, ylabel, title, height)
    style = styles(series, colors, dashes)
    ends = []
    for name, values in series.items():
        here = np.asarray(x[name] if isinstance(x, Mapping) else x, dtype=float)
        y = np.asarray(values, dtype=float)
        if here.shape != y.shape:
            raise ValueError(f"{name!r} has {y.size} values, but x has {here.size}.")
        color, dash = style[name]
        marker = "o" if y.size <= 16 else None
        ax.plot(here, y, dash, color=color, marker=marker, markersize=4, linewidth=1.8, label=name)
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


def heatmap(
    matrix: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    xlabel: str,
    ylabel: str,
    label: str,
    center: float | None = None,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a matrix (rows, columns) as colors; `label` names the values and their unit.

    With `center` the colors part there: blue below, white at it, orange above. `limits` fixes the
    range. Up to 100 cells also show their numbers; NaN is gray; crowded names are thinned out.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(f"matrix is {matrix.shape}, names are {(len(rows), len(columns))}.")
    names, upright, step = column_names(columns)
    below = 0.075 * max(map(len, names)) if upright else 0.0  # inches under the axes
    side = min(5.2 / max(len(columns), 1), 0.55)  # inches of one cell
    height = max(side * len(rows), 0.085 * len(label), 1.4) + below + 1.0
    figure, ax = new_figure(xlabel, ylabel, title, min(height, 7.6))
    finite = matrix[np.isfinite(matrix)]
    low, high = limits or (finite.min(initial=0), finite.max(initial=0)) if finite.size else (0, 1)
    norm: Normalize = Normalize(low, high if high > low else low + 1)
    if center is not None:
        norm = CenteredNorm(center, max(abs(high - center), abs(low - center)) or 1.0)
    colors = (SEQUENTIAL if center is None else DIVERGING).with_extremes(bad="#9aa5b1")
    image = ax.imshow(
        np.ma.masked_invalid(matrix), cmap=colors, norm=norm, aspect="auto", interpolation="nearest"
    )
    ax.set_xticks(range(0, len(names), step), names[::step], rotation=90 if upright else 0)
    step = every_nth(len(rows) / 30)
    ax.set_yticks(range(0, len(rows), step), [short(name) for name in rows[::step]])
    for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]:
        text.set_parse_math(False)
    ax.tick_params(length=0)
    if matrix.size <= 100 and len(columns) <= 10:
        for (i, j), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                ground = to_hex(colors(norm(value)))
                color = max(INK, "#ffffff", key=partial(contrast, ground))
                ax.text(j, i, digits(value), ha="center", va="center", color=color, fontsize=SMALL)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=ax, pad=0.02, aspect=25)
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure


def histogram(
    values: Mapping[str, Values],
    xlabel: str,
    *,
    bins: int = 40,
    marks: Mapping[str, float] | None = None,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the distribution of each group over shared bins, as the share of its values in %.

    Groups of unequal size can be compared so; the legend says how many values each has. `marks`
    holds name -> x of vertical lines (a threshold, a radius). NaN and infinities are left out.
    """
    groups = {name: np.asarray(v, dtype=float).ravel() for name, v in values.items()}
    groups = {name: v[np.isfinite(v)] for name, v in groups.items()}
    every = np.concatenate([*groups.values(), np.array(list((marks or {}).values()), dtype=float)])
    if not every.size:
        raise ValueError("there are no finite values to draw.")
    figure, ax = new_figure(xlabel, "share of values per bin (%)", title)
    edges = np.histogram_bin_edges(every, bins=bins)
    for name, (color, dash) in styles(groups, colors).items():
        group = groups[name]
        share = 100 * np.histogram(group, edges)[0] / max(group.size, 1)
        ax.stairs(share, edges, fill=True, color=color, alpha=0.22)
        ax.stairs(share, edges, color=color, linestyle=dash, linewidth=1.6,
                  label=f"{name} (n = {group.size})")  # fmt: skip
    for name, at in (marks or {}).items():
        ax.axvline(at, color=INK, linewidth=1.2, linestyle="--")
        right = at > np.mean(edges[[0, -1]])  # keep the name inside
        ax.annotate(name, (at, 1), xycoords=ax.get_xaxis_transform(), va="top", fontsize=SMALL,
                    xytext=(-4 if right else 4, -2), textcoords="offset points", color=INK,
                    ha="right" if right else "left")  # fmt: skip
    legend(figure, ax)
    return figure


def spectrum(
    eigenvalues: Values, threshold: float | None = None, *, title: str | None = None
) -> Figure:
    """Draw eigenvalues from the largest to the smallest on a log axis.

    With `threshold`, those below it are shaded as the null space and counted. Values at or below
    zero (rounding) cannot stand on a log axis: they are counted as below, and named in a note.
    """
    values = np.sort(np.asarray(eigenvalues, dtype=float).ravel())[::-1]
    shown = values[values > 0]
    if not shown.size:
        raise ValueError("no eigenvalue is above zero.")
    figure, ax = new_figure("index of the eigenvalue, largest first", "eigenvalue", title)
    ax.plot(np.arange(1, shown.size + 1), shown, color=NEIGHBOR, linewidth=2)
    ax.set(yscale="log", xlim=(0, values.size + 1))
    if threshold is not None:
        kept = int((values >= threshold).sum())
        ax.axhline(threshold, color=EDITED, linewidth=1.4, linestyle="--")
        ax.axvspan(kept + 0.5, values.size + 1, color=EDITED, alpha=0.10, linewidth=0)
        text = f"threshold {threshold:.2g}: {kept} above, {values.size - kept} below"
        ax.annotate(text, (1, threshold), xycoords=ax.get_yaxis_transform(), xytext=(-4, 4),
                    textcoords="offset points", ha="right", color=readable(EDITED),
                    fontsize=SMALL)  # fmt: skip
    if shown.size < values.size:
        text = f"{values.size - shown.size} at or below zero: not drawn"
        ax.text(0.02, 0.04, text, transform=ax.transAxes, color=QUIET, fontsize=SMALL)
    return figure


def loss_curve(rows: Any, *, title: str | None = None, ylog: bool = False) -> Figure:
    """Draw the loss of an optimization and its terms over the steps, in nats.

    `rows` is a DataFrame or a list of dicts, one per step, with the columns total, nll, kl and
    decay (those that are there), and step if the steps are not 0, 1, 2, …
    """
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
    terms = {"total": "total", "nll": "new answer", "kl": "KL", "decay": "decay"}
    names = {name: shown for name, shown in terms.items() if rows and name in rows[0]}
    return lines(
        [row.get("step", i) for i, row in enumerate(rows)],
        {shown: [row[name] for row in rows] for name, shown in names.items()},
        "optimization step",
        "loss (nats)",
        title=title,
        colors=dict(zip(terms.values(), (INK, EDITED, NEIGHBOR, UNRELATED), strict=True)),
        dashes={"total": "--"},
        ylog=ylog,
    )


def layer_curve(
    layers: Sequence[int],
    values: Mapping[str, Values],
    ylabel: str,
    highlight: int | Iterable[int] | None = None,
    *,
    bands: Mapping[str, tuple[Values, Values]] | None = None,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw name -> one value per layer; `highlight` shades one layer or several (the edited)."""
    figure = lines(layers, values, "layer", ylabel, bands=bands, title=title, colors=colors)
    _highlight(figure.axes[0], highlight)
    return figure


def rank_over_layers(
    layers: Sequence[int],
    ranks: Mapping[str, Values],
    *,
    before: Mapping[str, Values] | None = None,
    highlight: int | Iterable[int] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the rank of two answers in the vocabulary after every layer; rank 1 is at the top.

    `ranks` holds the old answer first (gray), then the new one (orange). `before` holds the same
    answers in the base model, dashed. `highlight` shades the edited layers.
    """
    colors = dict(zip(ranks, (BASE, EDITED, *CYCLE), strict=False))
    series, dashes = dict(ranks), {}
    for name, values in (before or {}).items():
        series[f"{name}, before"] = values
        colors[f"{name}, before"], dashes[f"{name}, before"] = colors.get(name, QUIET), "--"
    figure = lines(
        layers, series, "layer", "rank in the vocabulary",
        title=title, colors=colors, dashes=dashes, ylog=True,
        ylim=(1.6 * max(np.nanmax(np.asarray(v, dtype=float)) for v in series.values()), 0.75),
    )  # fmt: skip
    ax = figure.axes[0]
    ax.yaxis.set_major_formatter(FuncFormatter(lambda rank, _: f"{rank:,.0f}"))
    ax.yaxis.set_minor_locator(NullLocator())
    _highlight(ax, highlight)
    return figure


def _highlight(ax: Axes, layers: int | Iterable[int] | None) -> None:
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
    ax.text((chosen[0] + chosen[-1]) / 2, 1.01, text, transform=ax.get_xaxis_transform(),
            ha="center", va="bottom", color=readable(EDITED), fontsize=SMALL)  # fmt: skip
    if title := ax.get_title(loc="left"):
        ax.set_title(title, fontsize=TITLE, color=INK, loc="left", pad=20, parse_math=False)


def _note(ax: Axes, text: str, x: float, y: float, color: str) -> None:
    ax.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=SMALL,
                color=readable(color))  # fmt: skip
