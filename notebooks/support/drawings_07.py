"""The figures of notebook 07: keys that share room, matrices of overlaps over layers, tails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lib.plot.style import (
    CYCLE,
    DIVERGING,
    DPI,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
)

BINS = 60


def room() -> Figure:
    """Draw two and five keys in the plane, and the cosines of the five."""
    figure = Drawing(figsize=(WIDTH, 2.7), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, count in zip(axes, (2, 5), strict=False):
        step = 90 if count == 2 else 360 / count
        angles = np.deg2rad(90 - step * np.arange(count))
        for x, y in zip(np.cos(angles), np.sin(angles), strict=True):
            _arrow(ax, (x, y))
        ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        title = "no overlap" if count == 2 else "each overlaps with all"
        ax.set_title(f"{count} keys, 2 dimensions:\n{title}", fontsize=SMALL, color=INK)
    cosines = np.cos(angles[:, None] - angles[None])
    image = axes[2].imshow(cosines, cmap=DIVERGING, vmin=-1, vmax=1)
    for (i, j), value in np.ndenumerate(cosines):
        color = "white" if abs(value) > 0.7 else INK
        text = f"{value:.2f}".replace("-", "−")
        axes[2].text(j, i, text, ha="center", va="center", fontsize=7.5, color=color)
    axes[2].set(xticks=[], yticks=[])
    axes[2].spines[:].set_visible(False)
    axes[2].set_title("the cosines of the five", fontsize=SMALL, color=INK)
    _bar(figure, image, [axes[2]], "cosine")
    return figure


def matrices(
    rho: Mapping[int, Tensor], groups: Sequence[str], limit: float = 0.5, framed: int = 4
) -> Figure:
    """Draw ρ (n, n) of several layers as colors from −limit to limit, one panel per layer.

    groups  The group of each subject, in the order of rows and columns; equal ones lie side by
            side, and a square frames each group of at least `framed`.
    """
    figure = Drawing(figsize=(WIDTH, 5.6), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(2, 3)
    starts = [i for i, name in enumerate(groups) if i == 0 or name != groups[i - 1]]
    for ax, (layer, matrix) in zip(axes.ravel(), rho.items(), strict=False):
        image = ax.imshow(
            matrix.numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest"
        )
        away = matrix[~np.eye(len(matrix), dtype=bool)]
        rms = away.pow(2).mean().sqrt()
        ax.set_title(f"layer {layer}: rms {rms:.3f}", fontsize=SMALL, color=INK, loc="left")
        for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
            if end - start >= framed:
                corner, size = (start - 0.5, start - 0.5), end - start
                ax.add_patch(
                    Rectangle(corner, size, size, fill=False, edgecolor=INK, linewidth=0.9)
                )
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax in axes.ravel()[len(rho) :]:
        ax.set_axis_off()
    figure.supxlabel("subject j, who hears", fontsize=LABEL, color=INK)
    figure.supylabel("subject i, who writes", fontsize=LABEL, color=INK)
    _bar(figure, image, list(axes.ravel()), f"ρ(i, j), beyond ±{limit:g} as ±{limit:g}")
    return figure


def tails(entries: Mapping[int, Tensor]) -> Figure:
    """Draw histograms of the overlaps of some layers on a log axis, each with its Gaussian."""
    figure = Drawing(figsize=(WIDTH, 3.1), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(entries), sharex=True, sharey=True)
    edges = np.linspace(-1, 1, BINS + 1)
    for ax, color, (layer, values) in zip(axes, CYCLE, entries.items(), strict=False):
        values = values.numpy().clip(-1, 1)
        mean, std = values.mean(), values.std()
        count = np.histogram(values, edges)[0]
        ax.stairs(count, edges, fill=True, color=color, alpha=0.35)
        ax.stairs(count, edges, color=color, linewidth=1.2)
        x = np.linspace(-1, 1, 401)
        density = np.exp(-(((x - mean) / std) ** 2) / 2) / (std * (2 * np.pi) ** 0.5)
        ax.plot(
            x, density * len(values) * (edges[1] - edges[0]), "--", color=CYCLE[-1], linewidth=1.3
        )
        ax.set(yscale="log", ylim=(0.6, 2 * len(values)), xlim=(-1, 1))
        ax.set_title(f"layer {layer}: std {std:.3f}", fontsize=SMALL, color=INK, loc="left")
        ax.set_xlabel("ρ(i, j), i ≠ j", fontsize=LABEL, color=INK)
        _plain(ax)
    axes[0].set_ylabel("pairs per bin", fontsize=LABEL, color=INK)
    axes[-1].text(
        0.98,
        0.95,
        "dashed: a Gaussian\nof the same width",
        ha="right",
        va="top",
        transform=axes[-1].transAxes,
        fontsize=SMALL,
        color=QUIET,
    )
    return figure


def _bar(figure: Figure, image, axes: list[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=25)
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)


def _arrow(ax: Axes, end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, (0, 0), arrowprops={**look, "mutation_scale": 14}, zorder=4)


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(which="both", labelsize=SMALL, colors=QUIET, labelcolor=INK)
    ax.yaxis.grid(True, color=GRID)
    ax.set_axisbelow(True)
