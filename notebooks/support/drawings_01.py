"""The figure of notebook 01: keys before and after whitening."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib import plot
from lib.plot.style import CYCLE, DPI, GRID, INK, LABEL, QUIET, SMALL, WIDTH, Drawing

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
