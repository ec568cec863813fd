"""The figure of notebook 07: matrices of overlaps, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lib.plot.style import DIVERGING, DPI, INK, LABEL, QUIET, SMALL, WIDTH, Drawing


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
    bar = figure.colorbar(image, ax=list(axes.ravel()), pad=0.02, aspect=25)
    bar.set_label(f"ρ(i, j), beyond ±{limit:g} as ±{limit:g}", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure
