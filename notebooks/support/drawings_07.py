"""The figures of notebook 07: matrices of overlaps, and what becomes of them layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lib.workbench.plot.style import BASE, CYCLE, DIVERGING, INK, LABEL, SMALL, UNRELATED

from .figures import colorbar, panels, plain

MEASURES = {
    "mean/sd": "mean of ρ, over its sd",
    "kurtosis": "kurtosis of ρ",
    "common": "share in the mean key, %",
}
SETS = {  # of each set of keys: how it is called, and its color
    "facts": ("known facts", CYCLE[0]),
    "things": ("everyday things", CYCLE[2]),
    "text": ("tokens of text", UNRELATED),
    "random weights": ("facts, random weights", CYCLE[1]),
    "Gaussian": ("draws from N(0, C)", BASE),
}


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


def overlaps_by_layer(
    rows: Sequence[Mapping[str, Any]], measures: Sequence[str] = tuple(MEASURES)
) -> Figure:
    """Measures of the overlaps over the layers: a row of panels per model, a line per set of keys.

    rows      stored ones of `tests.benchmarks.papers`, with value and interval of each measure
    measures  some of MEASURES
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = panels(len(measures), len(models), height=1.2 + 2.6 * len(models))
    pairs = [(model, measure) for model in models for measure in measures]
    for ax, (model, measure) in zip(axes, pairs, strict=True):
        scale = 100 if measure == "common" else 1
        for kind, (name, color) in SETS.items():
            some = [row for row in rows if (row["model"], row["set"]) == (model, kind)]
            some = [row for row in some if row["layer"] is not None]
            if not some:
                continue
            layers = [row["layer"] for row in some]
            # None, where all keys are one, becomes a gap
            found = np.array([row["measures"][measure] for row in some], dtype=float)
            value, low, high = scale * found.T
            ax.plot(layers, value, color=color, label=name)
            ax.fill_between(layers, low, high, color=color, alpha=0.18, linewidth=0)
        plain(ax)
        ax.set_title(MEASURES[measure], fontsize=LABEL)
        ax.axhline(0, color=INK, linewidth=0.8)
        if measure == "kurtosis":
            ax.set_yscale("symlog", linthresh=10)
            ax.set_ylim(bottom=-2)
            ax.set_yticks([0, 5, 10, 30, 100], ["0", "5", "10", "30", "100"])
    for ax, model in zip(axes[:: len(measures)], models, strict=True):
        ax.set_xlabel(f"layer of {model}", loc="left", fontsize=LABEL)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL
    )
    return figure
