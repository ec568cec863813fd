"""The figures of notebook 07: what becomes of overlaps layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lib.workbench.plot.style import BASE, CYCLE, INK, LABEL, SMALL, UNRELATED

from .figures import panels, plain

MEASURES = {
    "mean/sd": "mean of ρ / its sd",
    "kurtosis": "kurtosis of ρ",
    "common": "fraction in the mean key (%)",
}
SETS = {  # of each set of keys: how it is called, and its color
    "facts": ("known facts", CYCLE[0]),
    "things": ("everyday things", CYCLE[2]),
    "text": ("tokens of text", UNRELATED),
    "once": ("tokens, none twice", INK),
    "random weights": ("facts, random weights", CYCLE[1]),
    "Gaussian": ("samples from N(0, C)", BASE),
}


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
