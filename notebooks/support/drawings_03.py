"""The figures of notebook 03: three runs, and the trace of one fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.workbench.interpret.causal_trace import Trace
from lib.workbench.plot.style import CYCLE, EDITED, LABEL, QUIET, SEQUENTIAL, SMALL

from .figures import bare, colorbar, legend, panels, token_ticks

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
        ax.set(xlim=(-1.1, layers + 0.4), ylim=(len(tokens) - 0.4, -1.2), xlabel="layer …")
        ax.set_xticks([-0.5, *np.arange(0, layers, 2) + 0.5], ["emb.", *range(0, layers, 2)])
        bare(ax)
    token_ticks(axes[0].yaxis, tokens)
    return legend(figure, MARKS.values(), MARKS, len(MARKS))


def each_fact(traces: Mapping[str, Trace], names: Mapping[str, str]) -> Figure:
    """Draw {fact: its trace} in a column each: IE at the subject's last token, and at the prompt's.

    names  {kind: its name}. A dotted line stands where the states at the prompt's last token begin to
           bring back more than those at the subject's, and do so from there on.
    """
    figure, axes = panels(len(traces), 2, height=4, sharex=True, sharey=True)
    colors = dict(zip(names, (QUIET, EDITED, CYCLE[0]), strict=True))
    for column, found in enumerate(traces.values()):
        states = found.indirect("hidden").numpy()
        before = np.flatnonzero(states[-1] <= states[found.subject[1]])  # from the next one on
        for ax, token in zip(axes[column :: len(traces)], (found.subject[1], -1), strict=True):
            for kind, color in colors.items():
                ax.plot(found.layers, found.indirect(kind).numpy()[token], color=color)
            if len(before) and before[-1] + 1 < len(states[-1]):
                ax.axvline(found.layers[before[-1] + 1], color=QUIET, linestyle=":", linewidth=1)
            ax.tick_params(labelsize=SMALL)
    for ax, title in zip(axes, traces, strict=False):
        ax.set_title(title.replace(" ", "\n"), fontsize=SMALL)
    for ax in axes[len(traces) :]:
        ax.set_xlabel("layer")
    axes[0].set_ylabel("IE, subject's end")
    axes[len(traces)].set_ylabel("IE, prompt's end")
    return legend(figure, colors.values(), names.values(), len(names))


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
        ax.set_xticks(found.layers[::2])
        bare(ax)
    figure.supxlabel("layer", fontsize=LABEL)
    token_ticks(axes[0].yaxis, found.tokens, numbered=True)
    colorbar(figure, image, axes, "indirect effect on p", pad=0.02, aspect=25)
    return figure
