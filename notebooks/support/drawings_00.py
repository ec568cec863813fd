"""The figures of notebook 00: what a patch touches, and where an answer turns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

import lib
from lib import plot
from lib.plot.style import (
    BASE,
    DPI,
    EDITED,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    readable,
)

PLACE = re.compile(r"\.(\d+)\.(.+)$")  # layer and the rest of a module's name
ENDS = re.compile(r"^(self_attn|attn|attention|mlp)\.|_proj$")


def touched(lm: lib.LM, patch: lib.Patch) -> plot.Figure:
    """Draw every matrix of the model's layers as a cell, and those that the patch changes in color.

    Beside them is the first change drawn to scale: a matrix and the two thin ones whose product is
    added to it.
    """
    cells = _matrices(lm)
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    layers = 1 + max(layer for layer, _ in cells)
    figure = Drawing(figsize=(WIDTH, 2.5), dpi=DPI, facecolor="white", layout="constrained")
    grid, product = figure.subplots(1, 2, width_ratios=(1.75, 1))
    changed = [_place(name) for name in patch.weights]
    for layer, kind in cells:
        color = EDITED if (layer, kind) in changed else GRID
        place = layer - 0.42, kinds.index(kind) - 0.42
        grid.add_patch(Rectangle(place, 0.84, 0.84, color=color, linewidth=0))
    grid.set(xlim=(-0.6, layers - 0.4), ylim=(len(kinds) - 0.4, -0.6))
    grid.set_yticks(range(len(kinds)), [ENDS.sub("", ENDS.sub("", kind)) for kind in kinds])
    grid.set_xticks(range(0, layers, 1 if layers < 8 else 5))
    grid.set_xlabel("layer", fontsize=LABEL, color=INK)
    grid.set_title(f"{len(cells)} matrices, {len(changed)} changed", **_TITLE)
    name, update = next(iter(patch.weights.items()))
    _product(product, *update.shape, update.rank)
    for ax in (grid, product):
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    return figure


def ranks(
    layers: Sequence[int],
    base: Mapping[str, Sequence[int]],
    edited: Mapping[str, Sequence[int]],
    layer: int,
) -> plot.Figure:
    """Draw the rank of two answers after every layer, {answer: ranks} in either model.

    The base model is gray and the edited one orange. The first answer is drawn through, the second
    dashed, and the edited layer is shaded.
    """
    series, colors, dashes = {}, {}, {}
    for model, found, color in (("base", base, BASE), ("edited", edited, EDITED)):
        for (answer, values), dash in zip(found.items(), ("-", "--"), strict=True):
            name = f"{answer}, {model}"
            series[name], colors[name], dashes[name] = values, color, dash
    worst = max(max(values) for values in series.values())
    figure = plot.lines(
        layers,
        series,
        "layer",
        "rank in the vocabulary (1 leads)",
        colors=colors,
        dashes=dashes,
        ylog=True,
        ylim=(1.6 * worst, 0.75),
    )
    ax = figure.axes[0]
    ax.yaxis.set_major_formatter(FuncFormatter(lambda rank, _: f"{rank:,.0f}"))
    ax.axvspan(layer - 0.5, layer + 0.5, color=EDITED, alpha=0.12, linewidth=0)
    text = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    ax.text(layer, 1.01, f"layer {layer}", color=readable(EDITED), fontsize=SMALL, **text)
    return figure


_TITLE = {"fontsize": SMALL, "color": INK, "loc": "left"}


def _place(name: str) -> tuple[int, str] | None:
    """Layer and kind of a module's name: "model.layers.3.mlp.down_proj" -> (3, "mlp.down_proj")."""
    found = PLACE.search(name)
    return (int(found[1]), found[2]) if found else None


def _matrices(lm: lib.LM) -> list[tuple[int, str]]:
    """(layer, kind) of every matrix inside a layer, in the order of the model."""
    names = (n.removesuffix(".weight") for n, p in lm.model.named_parameters() if p.ndim == 2)
    return [place for place in map(_place, names) if place]


def _product(ax: Axes, d_out: int, d_in: int, rank: int) -> None:
    """Draw W + A B: a large rectangle, a thin upright one and a thin flat one below each other."""
    wide, high = 1.0, d_out / d_in
    thin = 0.035  # drawn wider than to scale, since two columns of a thousand could not be seen
    ax.add_patch(Rectangle((0, 0), wide, high, facecolor=GRID, edgecolor=QUIET))
    ax.text(wide / 2, high / 2, f"W\n{d_out} × {d_in}", ha="center", va="center", **_TEXT)
    low = high + 0.3
    ax.text(-0.1, low + high / 2, "+", ha="center", va="center", **_TEXT)
    ax.add_patch(Rectangle((0, low), thin, high, color=EDITED, linewidth=0))
    ax.text(0.02, low - 0.04, f"A: {d_out} × {rank}", ha="left", va="bottom", **_TEXT)
    ax.add_patch(Rectangle((0.14, low), wide - 0.14, thin, color=EDITED, linewidth=0))
    ax.text(0.57, low + 0.08, f"B: {rank} × {d_in}", ha="center", va="top", **_TEXT)
    ax.set(
        xlim=(-0.18, 1.06), ylim=(low + high + 0.03, -0.03), aspect="equal", xticks=[], yticks=[]
    )


_TEXT = {"fontsize": SMALL, "color": INK}
