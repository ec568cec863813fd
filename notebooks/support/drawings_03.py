"""The figures of notebook 03: three runs, and the trace of one fact.

Each function returns a Figure in the library's style and shows nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.interpret.causal_trace import Trace
from lib.plot.style import (
    DPI,
    EDITED,
    INK,
    LABEL,
    QUIET,
    SEQUENTIAL,
    SMALL,
    WIDTH,
    Drawing,
    readable,
    token_text,
)

CLEAN, NOISY, TOUCHED = "#dfe3e8", "#8d7fd6", "#d8d3f2"  # states: clean, corrupted, led astray
HEALED = "#f6c7aa"  # states that the restored one reaches


def three_runs(
    tokens: Sequence[str], subject: tuple[int, int], place: tuple[int, int], p: Sequence[float]
) -> Figure:
    """Draw the clean, the corrupted and the restored run as grids of token × layer.

    subject  The numbers of the subject's first and last token.
    place    The token and the layer of the state that is put back.
    p        The answer's probability in the three runs.
    """
    figure = Drawing(figsize=(WIDTH, 3.5), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    layers, (first, last) = 7, subject
    titles = "1. clean", "2. corrupted", "3. restored"
    for run, (ax, title) in enumerate(zip(axes, titles, strict=True)):
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
            ax.text(
                -0.55, first - 0.75, "noise", color=readable(NOISY), fontsize=SMALL, ha="center"
            )
        ax.set_title(f"{title}: p = {p[run]:.3f}", fontsize=LABEL, color=INK, loc="left")
        ax.set(xlim=(-1.1, layers + 0.4), ylim=(len(tokens) - 0.4, -1.2))
        ax.set_xticks([-0.5, *np.arange(0, layers, 2) + 0.5], ["emb.", *range(0, layers, 2)])
        ax.set_xlabel("layer …", fontsize=LABEL, color=INK)
        _bare(ax)
    axes[0].set_yticks(range(len(tokens)), [token_text(token) for token in tokens])
    marks = {
        "clean": CLEAN,
        "noise inside": NOISY,
        "reads noise": TOUCHED,
        "put back": EDITED,
        "may use it": HEALED,
    }
    handles = [Rectangle((0, 0), 1, 1, color=color) for color in marks.values()]
    look = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    look |= {"handlelength": 1, "handleheight": 1, "ncols": len(marks)}
    figure.legend(handles, list(marks), loc="outside lower center", **look)
    return figure


def trace(found: Trace, names: Mapping[str, str], mark: tuple[int, int]) -> Figure:
    """Draw the indirect effects of all kinds side by side, tokens down and layers across.

    names  {kind: its name}.
    mark   The token and the layer that get a frame.
    """
    figure = Drawing(figsize=(WIDTH, 3.6), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(found.table), sharey=True)
    effects = {kind: found.indirect(kind).numpy() for kind in found.table}
    high = max(np.nanmax(effect) for effect in effects.values())
    step = found.layers[1] - found.layers[0] if len(found.layers) > 1 else 1
    edges = (found.layers[0] - step / 2, found.layers[-1] + step / 2)
    for ax, (kind, effect) in zip(axes, effects.items(), strict=True):
        image = ax.imshow(
            np.clip(effect, 0, None),
            cmap=SEQUENTIAL,
            vmin=0,
            vmax=high,
            aspect="auto",
            interpolation="nearest",
            extent=(*edges, len(effect) - 0.5, -0.5),
        )
        token, layer = mark
        ax.add_patch(
            Rectangle(
                (layer - step / 2, token - 0.5),
                step,
                1,
                fill=False,
                edgecolor=EDITED,
                linewidth=2,
                clip_on=False,
            )
        )
        ax.set_title(names[kind], fontsize=LABEL, color=INK, loc="left")
        ax.set_xticks(range(found.layers[0], found.layers[-1] + 1, 5))
        _bare(ax)
    figure.supxlabel("layer", fontsize=LABEL, color=INK)
    texts = [f"{i} {token_text(token)}" for i, token in enumerate(found.tokens)]
    axes[0].set_yticks(range(len(texts)), texts)
    bar = figure.colorbar(image, ax=list(axes), pad=0.02, aspect=25)
    bar.set_label("indirect effect on p", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure


def _bare(ax) -> None:
    """Leave the names of an axis and nothing else of it."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL, colors=QUIET, labelcolor=INK)
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
