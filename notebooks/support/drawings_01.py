"""The figures of notebook 01: keys before and after whitening, and the tails of their cosines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lib import plot
from lib.plot.style import (
    CYCLE,
    DPI,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    legend,
    new_figure,
    readable,
    styles,
)

DOTS = "#c3cad2"


def whitening(K: Tensor, L: Tensor, pair: tuple[int, int]) -> plot.Figure:
    """Draw keys K (2, n) in a plane, and the same after whitening by C = L Lᵀ.

    Two of them are drawn as arrows, with the cosine between them above each panel. The line is the
    set of keys with kᵀC⁻¹k = 4: an ellipse before, a circle after.
    """
    figure = Drawing(figsize=(WIDTH, 2.9), dpi=DPI, facecolor="white", layout="constrained")
    angle = torch.linspace(0, 2 * math.pi, 200, dtype=L.dtype)
    circle = 2 * torch.stack([angle.cos(), angle.sin()])
    white = torch.linalg.solve_triangular(L, K, upper=False)
    panels = ("raw keys k", K, L @ circle), ("whitened keys L⁻¹k", white, circle)
    wide, high = (1.08 * torch.cat([K, white], 1).abs().amax(1)).tolist()
    for ax, (title, keys, outline) in zip(figure.subplots(1, 2), panels, strict=True):
        ax.plot(*keys.numpy(), "o", color=DOTS, markersize=3, zorder=1)
        ax.plot(*outline.numpy(), color=QUIET, linewidth=1.2, zorder=2)
        a, b = (keys[:, i] for i in pair)
        for arrow, color in ((a, CYCLE[0]), (b, CYCLE[2])):
            look = {"arrowstyle": "-|>", "color": color, "linewidth": 2.2, "shrinkA": 0}
            look |= {"shrinkB": 0, "mutation_scale": 15}
            ax.annotate("", arrow.tolist(), (0, 0), arrowprops=look, zorder=3)
        cosine = (a @ b / (a.norm() * b.norm())).item()
        ax.set_title(f"{title}: arrows' cosine {cosine:.2f}", fontsize=SMALL, color=INK)
        ax.set(xlim=(-wide, wide), ylim=(-high, high), aspect="equal")
        ax.set(xticks=range(-4, 5, 2), yticks=range(-2, 3, 2))
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(QUIET)
        ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
        ax.grid(True, color=GRID)
        ax.set_axisbelow(True)
        ax.set_xlabel("first component", fontsize=LABEL, color=INK)
        ax.set_ylabel("second component", fontsize=LABEL, color=INK)
    return figure


def tails(
    groups: Mapping[str, Sequence[float]],
    xlabel: str,
    marked: tuple[str, float, str],
    bins: int = 50,
) -> plot.Figure:
    """Draw distributions as outlines over a log axis, so that a tail of few pairs can be seen.

    marked  A group, a value in it, and a name for that value, which an arrow points at.
    """
    figure, ax = new_figure(xlabel, "share of the pairs per bin (%)", None)
    every = np.concatenate([np.asarray(values, dtype=float) for values in groups.values()])
    edges = np.histogram_bin_edges(every, bins=bins)
    looks = styles(groups)
    heights = {}
    for name, values in groups.items():
        counts = np.histogram(np.asarray(values, dtype=float), edges)[0]
        heights[name] = 100 * counts / counts.sum()
        color, dash = looks[name]
        label = f"{name} (n = {counts.sum():,})"
        ax.stairs(heights[name], edges, color=color, linestyle=dash, linewidth=1.6, label=label)
    lowest = min(height[height > 0].min() for height in heights.values())
    ax.set(yscale="log", ylim=(0.6 * lowest, 60))
    group, value, text = marked
    cell = min(np.searchsorted(edges, value, side="right") - 1, bins - 1)
    point = value, max(heights[group][cell], lowest)
    arrow = {"arrowstyle": "->", "color": INK, "linewidth": 1}
    where = {"xytext": (0, 70), "textcoords": "offset points", "ha": "center"}
    color = readable(looks[group][0])
    ax.annotate(text, point, color=color, fontsize=SMALL, arrowprops=arrow, **where)
    legend(figure, ax)
    return figure
