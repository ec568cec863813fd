"""The figure of results/five_papers.md: superposition over the layers, for every set of keys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lib.workbench.plot.style import BASE, CYCLE, INK, LABEL, SMALL, UNRELATED
from notebooks.support.figures import panels, plain

from . import superposition
from .frame import HERE, Row

PANELS = {
    "mean/sd": "mean of ρ, over its sd",
    "kurtosis": "kurtosis of ρ",
    "common": "share in the mean key, %",
}
LOOK = {  # of each set: how it is called, and its color
    superposition.FACTS: ("known facts", CYCLE[0]),
    superposition.THINGS: ("everyday things", CYCLE[2]),
    superposition.TEXT: ("tokens of text", UNRELATED),
    superposition.RANDOM: ("facts, random weights", CYCLE[1]),
    superposition.GAUSS: ("draws from N(0, C)", BASE),
}


def by_layer(rows: Sequence[Row]) -> Figure:
    """Three measures over the layers: a row of panels per model, a line per set of keys."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = panels(len(PANELS), len(models), height=1.2 + 2.6 * len(models))
    pairs = [(model, measure) for model in models for measure in PANELS]
    for ax, (model, measure) in zip(axes, pairs, strict=True):
        scale = 100 if measure == "common" else 1
        for kind, (name, color) in LOOK.items():
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
        ax.set_title(PANELS[measure], fontsize=LABEL)
        ax.axhline(0, color=INK, linewidth=0.8)
        if measure == "kurtosis":
            ax.set_yscale("symlog", linthresh=10)
            ax.set_ylim(bottom=-2)
            ax.set_yticks([0, 5, 10, 30, 100], ["0", "5", "10", "30", "100"])
    for ax, model in zip(axes[:: len(PANELS)], models, strict=True):
        ax.set_xlabel(f"layer of {model}", loc="left", fontsize=LABEL)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL
    )
    return figure


def save(rows: Sequence[Row]) -> None:
    """Write the figure beside the page."""
    drawn = by_layer(rows)._repr_png_()
    (HERE.parent / "results" / "superposition.png").write_bytes(drawn)
