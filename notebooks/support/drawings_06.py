"""The figures of notebook 06: what a batch is weighed against, and a thin direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.workbench.plot.style import BASE, EDITED, GRID, INK, QUIET, UNRELATED, readable

from .figures import MIDDLE, arrow, bare, legend, panels, plain

KEPT = "#f6c7aa"  # written before and kept: a light orange


def sums(batches: int = 5) -> Figure:
    """Draw which terms stand in the sum of squares of each batch, without and with kept keys."""
    titles = "nothing kept", "kept keys"
    figure, axes = panels(2, height=2.9, sharey=True, titles=titles)
    for ax, keep in zip(axes, (False, True), strict=True):
        for row in range(batches):
            for column in range(batches + 1):
                before = KEPT if keep and column <= row else "white"
                color = UNRELATED if column == 0 else EDITED if column == row + 1 else before
                look = {"facecolor": color, "edgecolor": GRID, "linewidth": 1}
                ax.add_patch(Rectangle((column - 0.42, row - 0.42), 0.84, 0.84, **look))
        ax.set(xlim=(-0.6, batches + 0.6), ylim=(batches - 0.4, -0.6), aspect="equal")
        ax.set_xticks(range(batches + 1), ["text", *range(1, batches + 1)])
        ax.set_yticks(range(batches), range(1, batches + 1))
        ax.set_xlabel("general text, and the batches")
        bare(ax)
    axes[0].set_ylabel("solve for batch")
    colors = {"text, λ times": UNRELATED, "written now": EDITED, "written before, kept": KEPT}
    return legend(figure, colors.values(), colors, 3, handleheight=0.7)


def thin() -> Figure:
    """Draw keys of text as a flat cloud, and a subject's key with its part in the thin direction."""
    draw = np.random.default_rng(0)
    text = draw.normal(size=(260, 2)) * (1.0, 0.07)
    figure, (ax,) = panels(height=2.7)
    ax.plot(*text.T, "o", color=UNRELATED, alpha=0.45, markersize=3, linewidth=0)
    ax.axvline(0, color=QUIET, linewidth=1, linestyle="--", zorder=0)
    arrow(ax, (1.5, 0.75), EDITED)
    arrow(ax, (0, 0.75), INK)
    ax.plot([0, 1.5], [0.75, 0.75], ":", color=QUIET, linewidth=1.2)
    ax.text(1.56, 0.76, "key $k$ of a subject", color=readable(EDITED), va="center")
    left = {"ha": "right", "va": "center"}
    ax.text(-0.08, 0.6, "its part $Pk = QQ^{\\mathsf{T}} k$", **left)
    ax.text(-0.08, 1.02, "approximate null space of the text's keys", color=QUIET, **left)
    ax.text(2.0, -0.28, "keys of general text", color=readable(UNRELATED), **MIDDLE)
    ax.set(xlim=(-3.3, 3.3), ylim=(-0.42, 1.12), aspect="equal", xticks=[], yticks=[])
    bare(ax)
    return figure


def inside(
    values: Sequence[float],
    parts: Mapping[str, Sequence[float]],
    share: float,
    found: Mapping[str, float],
) -> Figure:
    """Draw how much of texts and of subjects' keys lies in the lowest directions, over their number.

    values  Eigenvalues of C, ascending.
    parts   For three texts, then subjects: what of the keys' squared length is in each direction.
    share   The lowest directions, the approximate null space, as a share of all.
    found   {whose: the share of the text of C that `place` finds inside}.
    """
    x = 100 * np.arange(1, len(values) + 1) / len(values)
    figure, (left, right) = panels(2, height=3.1)
    left.plot(x, values, color=UNRELATED, linewidth=2)
    left.set(yscale="log", ylabel="eigenvalue of C")
    for (name, part), line in zip(parts.items(), ("-", "--", "-.", "-"), strict=True):
        color = EDITED if name == "keys of subjects" else UNRELATED
        right.plot(x, 100 * np.cumsum(part) / sum(part), line, color=color, label=name)
    right.plot(x, x, ":", color=QUIET, linewidth=1, label="all directions equal")
    for (whose, one), mark in zip(found.items(), "ox", strict=False):
        label = f"place, {whose}"
        right.plot([100 * share], [100 * one], mark, color=INK, markersize=7, label=label)
    right.set_ylabel("inside the null space (%)")
    right.legend(loc="upper left", fontsize="small", labelspacing=0.2)
    for ax in (left, right):
        ax.axvspan(0, 100 * share, color=BASE, alpha=0.13, linewidth=0)
        ax.set(xlim=(0, 100), xlabel="directions, lowest first (%)")
        plain(ax)
    place = {"transform": left.get_xaxis_transform(), "ha": "center", "color": QUIET}
    left.text(50 * share, 0.93, "null space, approximately", **place)
    return figure
