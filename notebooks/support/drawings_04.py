"""The drawing of notebook 04, ROME on its token × layer grid."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from lib.plot.style import (
    BASE,
    DPI,
    EDITED,
    INK,
    LABEL,
    QUIET,
    SMALL,
    Drawing,
    readable,
    token_text,
)

WIDE = 7.6
FROZEN, KEPT = "#c9d0d8", "#eceff2"  # states that run in the search, states that never change


def rome(tokens: Sequence[str], at: int, layer: int, shown: int = 8) -> Figure:
    """Draw where ROME reads its key, adds δ and waits for the answer.

    tokens  The prompt's tokens, from left to right.
    at      The number of the subject's last token.
    layer   The edited layer; layers 0 to `shown` − 1 are drawn, from below.
    """
    figure = Drawing(figsize=(WIDE, 4.3), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    last, top = len(tokens) - 1, shown
    for token in range(len(tokens)):
        for row in range(shown):
            moves = token >= at and row >= layer
            color = FROZEN if moves else KEPT
            if (token, row) == (at, layer):
                color = EDITED
            ax.add_patch(Rectangle((token - 0.16, row + 0.25), 0.32, 0.5, color=color, zorder=3))
        color = FROZEN if token >= at else KEPT
        ax.plot([token, token], [0.1, shown + 0.05], color=color, linewidth=1.2, zorder=1)
    _box(ax, at, layer)
    # the way of δ through the layers above, to the end of the prompt
    arrow = {"arrowstyle": "-|>", "color": EDITED, "linewidth": 1.6, "mutation_scale": 13}
    for end in (layer + 2.5, layer + 3.5):
        bent = arrow | {"connectionstyle": "arc3,rad=-0.12", "alpha": 0.75}
        ax.annotate("", (last - 0.2, end), (at + 0.2, layer + 0.6), arrowprops=bent, zorder=2)
    ax.annotate("", (last, top + 0.55), (last, top - 0.2), arrowprops=arrow)
    ax.text(last, top + 0.65, "Rome?", color=readable(EDITED), fontsize=LABEL, ha="center")
    ax.text(
        last - 0.35,
        top + 0.3,
        "frozen layers above: the gradient passes through them",
        color=QUIET,
        fontsize=SMALL,
        ha="right",
    )
    ax.text(
        (last + at) / 2 + 0.6,
        layer / 2 + 0.05,
        "below the edited layer,\nand before the token,\nnothing changes",
        color=QUIET,
        fontsize=SMALL,
        ha="center",
        va="center",
        backgroundcolor="white",
    )
    ax.set_xticks(range(len(tokens)), [token_text(token) for token in tokens])
    ax.set_yticks([i + 0.5 for i in range(shown)], range(shown))
    ax.set_ylabel("layer", fontsize=LABEL, color=INK)
    ax.set(xlim=(-0.6, last + 0.8), ylim=(-0.1, top + 1.1))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL, colors=QUIET, labelcolor=INK)
    for text in ax.get_xticklabels():
        text.set_parse_math(False)
    return figure


def _box(ax, at: int, layer: int) -> None:
    """The edited layer's MLP, taken out to the left: k, W, v₀, and δ on its way to the state."""
    left, low = at - 3.05, layer + 1.15
    ax.add_patch(
        FancyBboxPatch(
            (left - 0.35, low - 0.35),
            2.75,
            1.5,
            boxstyle="round,pad=0.05",
            facecolor="white",
            edgecolor=QUIET,
            linewidth=1,
            zorder=4,
        )
    )
    text = {"fontsize": LABEL, "ha": "center", "va": "center", "zorder": 6}
    ax.add_patch(Rectangle((left + 0.55, low + 0.1), 0.55, 0.6, color=BASE, zorder=5))
    ax.text(left - 0.05, low + 0.4, "$k_0$", color=INK, **text)
    ax.text(left + 0.825, low + 0.4, "$W$", color="white", **text)
    ax.text(left + 1.45, low + 0.4, "$v_0$", color=INK, **text)
    ax.text(left + 2.05, low + 0.4, r"$+\,\delta$", color=readable(EDITED), **text)
    thin = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1, "mutation_scale": 9}
    ax.annotate("", (left + 0.53, low + 0.4), (left + 0.12, low + 0.4), arrowprops=thin, zorder=5)
    ax.annotate("", (left + 1.3, low + 0.4), (left + 1.12, low + 0.4), arrowprops=thin, zorder=5)
    ax.text(
        left + 1.0,
        low + 0.92,
        "the MLP's last matrix",
        color=QUIET,
        fontsize=SMALL,
        ha="center",
        va="center",
        zorder=6,
    )
    into = {"arrowstyle": "-|>", "color": EDITED, "linewidth": 1.8, "mutation_scale": 13}
    ax.annotate("", (at - 0.18, layer + 0.5), (left + 2.3, low + 0.15), arrowprops=into, zorder=7)
