"""The figure of notebook 07: matrices of overlaps, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lib.workbench.plot.style import DIVERGING, INK, LABEL, SMALL

from .figures import colorbar, panels


def matrices(
    rho: Mapping[int, Tensor], groups: Sequence[str], limit: float = 0.5, framed: int = 4
) -> Figure:
    """Draw ρ (n, n) of several layers as colors from −limit to limit, one panel per layer.

    groups  The group of each subject, in the order of rows and columns; equal ones lie side by
            side, and a square frames each group of at least `framed`.
    """
    figure, axes = panels(3, 2, height=5.6)
    starts = [i for i, name in enumerate(groups) if i == 0 or name != groups[i - 1]]
    look = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    frame = {"fill": False, "edgecolor": INK, "linewidth": 0.9}
    for ax, (layer, matrix) in zip(axes, rho.items(), strict=False):
        image = ax.imshow(matrix.numpy(), **look)
        away = matrix[~np.eye(len(matrix), dtype=bool)]
        ax.set_title(f"layer {layer}: rms of all {away.pow(2).mean().sqrt():.3f}", fontsize=SMALL)
        for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
            if end - start >= framed:
                corner, size = (start - 0.5, start - 0.5), end - start
                ax.add_patch(Rectangle(corner, size, size, **frame))
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax in axes[len(rho) :]:
        ax.set_axis_off()
    figure.supxlabel("subject j, who hears", fontsize=LABEL)
    figure.supylabel("subject i, who writes", fontsize=LABEL)
    colorbar(figure, image, axes, f"ρ(i, j), beyond ±{limit:g} as ±{limit:g}", pad=0.02, aspect=25)
    return figure
