"""The figure of notebook 01: keys before and after whitening."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.workbench import plot
from lib.workbench.plot.style import CYCLE, QUIET, SMALL

from .figures import arrow, panels

DOTS = "#c3cad2"


def whitening(K: Tensor, L: Tensor, pair: tuple[int, int]) -> plot.Figure:
    """Draw keys K (2, n) in a plane, and the same after whitening by C = L Lᵀ.

    Two of them are drawn as arrows, with the cosine between them above each panel. The line is the
    set of keys with kᵀC⁻¹k = 4: an ellipse before, a circle after.
    """
    angle = torch.linspace(0, 2 * math.pi, 200, dtype=L.dtype)
    circle = 2 * torch.stack([angle.cos(), angle.sin()])
    white = torch.linalg.solve_triangular(L, K, upper=False)
    drawn = ("raw keys k", K, L @ circle), ("whitened keys L⁻¹k", white, circle)
    wide, high = (1.08 * torch.cat([K, white], 1).abs().amax(1)).tolist()
    figure, axes = panels(2, height=2.9)
    for ax, (title, keys, outline) in zip(axes, drawn, strict=True):
        ax.plot(*keys.numpy(), "o", color=DOTS, markersize=3, zorder=1)
        ax.plot(*outline.numpy(), color=QUIET, linewidth=1.2, zorder=2)
        a, b = (keys[:, i] for i in pair)
        arrow(ax, a.tolist(), CYCLE[0])
        arrow(ax, b.tolist(), CYCLE[2])
        cosine = (a @ b / (a.norm() * b.norm())).item()
        ax.set_title(f"{title}: arrows' cosine {cosine:.2f}", fontsize=SMALL)
        ax.set(xlim=(-wide, wide), ylim=(-high, high), aspect="equal")
        ax.set(xticks=range(-4, 5, 2), yticks=range(-2, 3, 2))
        ax.set(xlabel="first component", ylabel="second component")
        ax.grid(True)
    return figure
