"""The figures of notebook 03: three runs, the trace of one fact, and facts over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lib.workbench.interpret.causal_trace import Trace
from lib.workbench.plot.style import (
    CYCLE,
    EDITED,
    LABEL,
    QUIET,
    SEQUENTIAL,
    SMALL,
    readable,
    token_text,
)

from .figures import bare, colorbar, legend, panels, plain

CLEAN, NOISY, TOUCHED = "#dfe3e8", "#8d7fd6", "#d8d3f2"  # states: clean, corrupted, led astray
HEALED = "#f6c7aa"  # states that the restored one reaches
MARKS = {"clean": CLEAN, "noise inside": NOISY, "reads noise": TOUCHED}
MARKS |= {"put back": EDITED, "may use it": HEALED}


def three_runs(
    tokens: Sequence[str], subject: tuple[int, int], place: tuple[int, int], p: Sequence[float]
) -> Figure:
    """Draw the clean, the corrupted and the restored run as grids of token × layer.

    subject  The numbers of the subject's first and last token.
    place    The token and the layer of the state that is put back.
    p        The answer's probability in the three runs.
    """
    names = "1. clean", "2. corrupted", "3. restored"
    titles = [f"{name}: p = {x:.3f}" for name, x in zip(names, p, strict=True)]
    figure, axes = panels(3, height=3.5, sharey=True, titles=titles)
    layers, (first, last) = 7, subject
    for run, ax in enumerate(axes):
        for token in range(len(tokens)):
            for layer in range(-1, layers):  # −1 is the embedding
                color = CLEAN
                if run and token >= first:
                    color = NOISY if token <= last else TOUCHED if layer >= 0 else CLEAN
                if run == 2 and token >= place[0] and layer >= place[1]:
                    color = HEALED if layer > place[1] else color
                    color = EDITED if (token, layer) == place else color
                ax.add_patch(Rectangle((layer + 0.1, token - 0.4), 0.8, 0.8, color=color))
        if run:
            ax.text(-0.55, first - 0.75, "noise", color=readable(NOISY), ha="center")
        ax.set(xlim=(-1.1, layers + 0.4), ylim=(len(tokens) - 0.4, -1.2), xlabel="layer …")
        ax.set_xticks([-0.5, *np.arange(0, layers, 2) + 0.5], ["emb.", *range(0, layers, 2)])
        bare(ax)
    _tokens(axes[0], [token_text(token) for token in tokens])
    return legend(figure, MARKS.values(), MARKS, len(MARKS))


def trace(found: Trace, names: Mapping[str, str], mark: tuple[int, int]) -> Figure:
    """Draw the indirect effects of all kinds side by side, tokens down and layers across.

    names  {kind: its name}.
    mark   The token and the layer that get a frame.
    """
    titles = [names[kind] for kind in found.table]
    figure, axes = panels(len(found.table), height=3.6, sharey=True, titles=titles)
    effects = {kind: found.indirect(kind).numpy() for kind in found.table}
    high = max(np.nanmax(effect) for effect in effects.values())
    step = found.layers[1] - found.layers[0] if len(found.layers) > 1 else 1
    edges = (found.layers[0] - step / 2, found.layers[-1] + step / 2)
    look = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": high, "interpolation": "nearest"}
    frame = {"fill": False, "edgecolor": EDITED, "linewidth": 2, "clip_on": False}
    for ax, effect in zip(axes, effects.values(), strict=True):
        extent = (*edges, len(effect) - 0.5, -0.5)
        image = ax.imshow(np.clip(effect, 0, None), aspect="auto", extent=extent, **look)
        token, layer = mark
        ax.add_patch(Rectangle((layer - step / 2, token - 0.5), step, 1, **frame))
        ax.set_xticks(range(found.layers[0], found.layers[-1] + 1, 5))
        bare(ax)
    figure.supxlabel("layer", fontsize=LABEL)
    _tokens(axes[0], [f"{i} {token_text(token)}" for i, token in enumerate(found.tokens)])
    colorbar(figure, image, axes, "indirect effect on p", pad=0.02, aspect=25)
    return figure


def over_layers(
    found: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[Sequence[float]]]]],
    mark: int | None = None,
    log: Sequence[str] = (),
) -> Figure:
    """Draw one panel per quantity, with a thin line for each fact and their mean on top of it.

    found  {quantity: {line: its layers, and for each fact its values there}}.
    mark   A layer that gets an upright line.
    log    The quantities with a logarithmic axis, where the median stands for the mean.
    """
    figure, axes = panels(len(found), height=3.4)
    names = list(dict.fromkeys(name for lines in found.values() for name in lines))
    colors = dict(zip(names, CYCLE, strict=False))
    handles: dict[str, Any] = {}
    for ax, (what, lines) in zip(axes, found.items(), strict=True):
        for name, (layers, facts) in lines.items():
            values = np.array(facts, dtype=float).T  # (layers, facts)
            look = {"color": colors[name], "linestyle": "--" if "yours" in name else "-"}
            if values.shape[1] > 1:
                ax.plot(layers, values, linewidth=0.8, alpha=0.3, **look)
            middle = np.median(values, 1) if what in log else values.mean(1)
            (handles[name],) = ax.plot(layers, middle, marker="o", markersize=4, **look)
        if mark is not None:
            ax.axvline(mark, color=QUIET, linewidth=1, linestyle=":")
            below_top = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            ax.annotate(
                f"layer {mark}", (mark, 1), (0, 2), ha="center", fontsize=SMALL, **below_top
            )
        ax.set(xlabel="layer", ylabel=what, yscale="log" if what in log else "linear")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(ax)
    return legend(figure, handles.values(), handles, len(handles))


def _tokens(ax, texts: Sequence[str]) -> None:
    ax.set_yticks(range(len(texts)), texts)
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
