"""The figures of notebook 00: what a patch touches, and where an answer turns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

import lib
from lib.workbench import plot
from lib.workbench.plot.style import BASE, EDITED, GRID, SMALL, readable

from .figures import bare, panels

PLACE = re.compile(r"\.(\d+)\.(.+)$")  # layer and the rest of a module's name
ENDS = re.compile(r"^(self_attn|attn|attention|mlp)\.|_proj$")


def touched(lm: lib.LM, patch: lib.Patch) -> plot.Figure:
    """Draw every matrix of the layers as a cell, and those that the patch changes in color."""
    names = (n.removesuffix(".weight") for n, p in lm.model.named_parameters() if p.ndim == 2)
    cells = [place for place in map(_place, names) if place]
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    layers = 1 + max(layer for layer, _ in cells)
    figure, (grid,) = panels(height=2.3)
    changed = [_place(name) for name in patch.weights]
    for layer, kind in cells:
        color = EDITED if (layer, kind) in changed else GRID
        place = layer - 0.42, kinds.index(kind) - 0.42
        grid.add_patch(Rectangle(place, 0.84, 0.84, color=color, linewidth=0))
    grid.set(xlim=(-0.6, layers - 0.4), ylim=(len(kinds) - 0.4, -0.6), xlabel="layer")
    grid.set_yticks(range(len(kinds)), [ENDS.sub("", ENDS.sub("", kind)) for kind in kinds])
    grid.set_xticks(range(0, layers, 1 if layers < 8 else 5))
    grid.set_title(f"{len(cells)} matrices, {len(changed)} changed", fontsize=SMALL)
    bare(grid)
    return figure


def ranks(base: Mapping[str, Sequence[int]], edited: Mapping[str, Sequence[int]], layer: int):
    """Draw the ranks of the old answer (full lines) and the new one (dashed) in both models."""
    models = {"base": base, "edited": edited}
    series = {f"{a}, {model}": models[model][a] for model in models for a in base}
    colors = dict(zip(series, (BASE, BASE, EDITED, EDITED), strict=True))
    dashes = dict(zip(series, ("-", "--") * 2, strict=True))
    worst = max(max(values) for values in series.values())
    looks = {"colors": colors, "dashes": dashes, "ylog": True, "ylim": (1.6 * worst, 0.75)}
    layers = range(len(next(iter(series.values()))))
    figure = plot.lines(layers, series, "layer", "rank in the vocabulary (1 leads)", **looks)
    (ax,) = figure.axes
    ax.axvspan(layer - 0.5, layer + 0.5, color=EDITED, alpha=0.12, linewidth=0)
    ax.text(layer + 0.8, 2, f"layer {layer}, which was edited", color=readable(EDITED), va="center")
    return figure


def _place(name: str) -> tuple[int, str] | None:
    """Layer and kind of a module's name: "model.layers.3.mlp.down_proj" -> (3, "mlp.down_proj")."""
    found = PLACE.search(name)
    return (int(found[1]), found[2]) if found else None
