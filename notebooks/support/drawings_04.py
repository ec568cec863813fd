"""The drawings of notebook 04: ROME on its grid, shares that arrive, parts, edits in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from lib.workbench.plot.style import BASE, CYCLE, DASHES, EDITED, INK, LABEL, QUIET, readable

from .figures import MARKERS, MIDDLE, arrow, bare, legend, panels, plain, token_ticks

FROZEN, KEPT = "#c9d0d8", "#eceff2"  # states that run in the search, states that never change


def rome(tokens: Sequence[str], at: int, layer: int, shown: int = 8) -> Figure:
    """Draw where ROME reads its key, adds δ and waits for the answer.

    tokens  The prompt's tokens, from left to right.
    at      The number of the subject's last token.
    layer   The edited layer; layers 0 to `shown` − 1 are drawn, from below.
    """
    figure, (ax,) = panels(height=4.3)
    last, top = len(tokens) - 1, shown
    for token in range(len(tokens)):
        for row in range(shown):
            color = FROZEN if token >= at and row >= layer else KEPT
            if (token, row) == (at, layer):
                color = EDITED
            ax.add_patch(Rectangle((token - 0.16, row + 0.25), 0.32, 0.5, color=color, zorder=3))
        color = FROZEN if token >= at else KEPT
        ax.plot([token, token], [0.1, shown + 0.05], color=color, linewidth=1.2, zorder=1)
    _mlp(ax, at, layer)
    # the way of δ through the layers above, to the end of the prompt
    look = {"arrowstyle": "-|>", "color": EDITED, "linewidth": 1.6, "mutation_scale": 13}
    bent = look | {"connectionstyle": "arc3,rad=-0.12", "alpha": 0.75}
    for end in (layer + 2.5, layer + 3.5):
        ax.annotate("", (last - 0.2, end), (at + 0.2, layer + 0.6), arrowprops=bent, zorder=2)
    ax.annotate("", (last, top + 0.55), (last, top - 0.2), arrowprops=look)
    ax.text(last, top + 0.65, "Rome?", color=readable(EDITED), fontsize=LABEL, ha="center")
    said = "frozen layers above: the gradient passes through them"
    ax.text(last - 0.35, top + 0.3, said, color=QUIET, ha="right")
    said = "below the edited layer,\nand before the token,\nnothing changes"
    place = (last + at) / 2 + 0.6, layer / 2 + 0.05
    ax.text(*place, said, color=QUIET, backgroundcolor="white", **MIDDLE)
    token_ticks(ax.xaxis, tokens)
    ax.set_yticks([i + 0.5 for i in range(shown)], range(shown))
    ax.set(xlim=(-0.6, last + 0.8), ylim=(-0.1, top + 1.1), ylabel="layer")
    bare(ax)
    return figure


def _mlp(ax, at: int, layer: int) -> None:
    """The edited layer's MLP, taken out to the left: k, W, v₀, and δ on its way to the state."""
    left, low = at - 3.05, layer + 1.15
    frame = {"facecolor": "white", "edgecolor": QUIET, "linewidth": 1, "zorder": 4}
    corner = left - 0.35, low - 0.35
    ax.add_patch(FancyBboxPatch(corner, 2.75, 1.5, boxstyle="round,pad=0.05", **frame))
    ax.add_patch(Rectangle((left + 0.55, low + 0.1), 0.55, 0.6, color=BASE, zorder=5))
    names = {-0.05: ("$k_0$", INK), 0.825: ("$W$", "white"), 1.45: ("$v_0$", INK)}
    names[2.05] = r"$+\,\delta$", readable(EDITED)
    for x, (name, color) in names.items():
        ax.text(left + x, low + 0.4, name, color=color, fontsize=LABEL, zorder=6, **MIDDLE)
    thin = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1, "mutation_scale": 9}
    for start, end in ((0.12, 0.53), (1.12, 1.3)):
        ends = (left + end, low + 0.4), (left + start, low + 0.4)
        ax.annotate("", *ends, arrowprops=thin, zorder=5)
    ax.text(left + 1.0, low + 0.92, "the MLP's last matrix", color=QUIET, zorder=6, **MIDDLE)
    arrow(ax, (at - 0.18, layer + 0.5), EDITED, (left + 2.3, low + 0.15), linewidth=1.8,
          mutation_scale=13, shrinkA=2, shrinkB=2)  # fmt: skip


def shares(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    turn: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    templates: int,
) -> Figure:
    """Draw which share of a change arrives in each sentence, and effect of the fraction on the answer.

    found      {panel: {key: one share for each sentence}}: the bare prompt, other templates, and
               rewordings. What is under the axis stands at its foot.
    turn       {line: (shares, probabilities)}, the last panel.
    templates  The number of templates, the bare prompt included.
    """
    titles = [*found, "effect of the fraction on the answer"]
    figure, axes = panels(2, -(-len(titles) // 2), height=3.1 * -(-len(titles) // 2), titles=titles)
    for ax, ways in zip(axes, found.values(), strict=False):
        ax.axhspan(0.5, 2, color=QUIET, alpha=0.12, linewidth=0)
        for i, (way, y) in enumerate(ways.items()):
            dash = DASHES["yours" in way]
            x = np.arange(len(y)) + 0.08 * (i - 1.5)  # side by side
            ax.plot(x, np.clip(y, 0.012, None), dash + MARKERS[i], color=CYCLE[i], label=way)
        last = len(y) - 1
        ax.set(yscale="log", ylim=(0.01, 90), ylabel="fraction that arrives")
        ax.set_yticks([0.01, 0.1, 0.5, 1, 2, 10, 50], ["0.01", "0.1", "½", "1", "2", "10", "50"])
        ax.set_xticks(
            [0, templates / 2, (templates + last) / 2], ["prompt", "templates", "rewordings"]
        )
        ax.minorticks_off()
        ax.tick_params(axis="x", length=0)
        for edge in (0.5, templates - 0.5):
            ax.axvline(edge, color=QUIET, linewidth=0.6, linestyle=":")
    ax = axes[len(found)]
    for (name, (x, y)), dash in zip(turn.items(), DASHES, strict=False):
        ax.plot(x, y, dash, color=EDITED, label=name)
    ax.set(xscale="log", xlabel="fraction that arrives", ylabel="p(new answer)")
    ax.set_xticks([0.1, 0.5, 1, 2, 10, 50], ["0.1", "½", "1", "2", "10", "50"])
    ax.minorticks_off()
    ax.legend(loc=(0.24, 0.2), handlelength=1.2)
    for left in axes[len(titles) :]:
        left.set_axis_off()
    return legend(figure, *axes[0].get_legend_handles_labels(), columns=5)


def along(texts: Sequence[tuple[Sequence[str], Sequence[float]]], titles: Sequence[str]) -> Figure:
    """Draw the share of an edit that arrives at every token of some texts, one text per panel."""
    figure, axes = panels(1, len(texts), height=2.5 * len(texts), titles=titles, sharey=True)
    for ax, (tokens, y) in zip(axes, texts, strict=True):
        ax.bar(range(len(tokens)), y, 0.6, color=EDITED)
        ax.axhline(0, color=INK, linewidth=0.8)
        token_ticks(ax.xaxis, tokens, rotation=30, ha="right", rotation_mode="anchor")
        ax.set_ylabel("fraction that arrives")
        plain(ax)
    return figure
