"""The drawings of notebook 05: what λ lets arrive, half of D, a staircase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.workbench.plot.style import BASE, DIVERGING, EDITED, GRID, INK, NEIGHBOR, QUIET

from .figures import bare, colorbar, legend, panels

ASKED = "#f6c7aa"  # what a layer is asked for; what arrives is drawn in full color


def weigh(
    names: Sequence[str],
    q: Sequence[float],
    written: Mapping[str, Callable[[float], Sequence[float]]],
    trade: Callable[[float], tuple[float, float]],
    strength: float,
) -> Figure:
    """Draw which share of each fact arrives with a λ, and what general text pays for it.

    names    The facts, from the smallest q to the largest.
    q        Their q = kᵀ C⁻¹ k.
    written  {whose: function of λ}, the share of each fact that arrives.
    trade    A function of λ: the missing share, and the cost as a share of equality's.
    """
    figure, (left, right) = panels(2, height=5.2)
    place = np.arange(len(names))
    for i, (whose, share) in enumerate(written.items()):
        if i:
            left.plot(share(strength), place, "x", color=NEIGHBOR, markersize=7, label=whose)
        else:
            left.barh(place, share(strength), 0.66, color=EDITED, label="arrives, all together")
    left.plot(np.array(q) / (strength + np.array(q)), place, "|", color=INK, markersize=11,
              markeredgewidth=2, label="individually: q/(λ + q)")  # fmt: skip
    left.set_yticks(place, names)
    left.set(xlim=(0, 1.15), xlabel="fraction of the residual")
    left.tick_params(axis="y", length=0)
    line = [trade(power) for power in (0, *np.logspace(0, 7, 60))]
    missing, cost = trade(strength)
    right.plot(*np.array(line).T, color=BASE, label="weighed by λ")
    share = np.linspace(0, 1)
    right.plot(share, (1 - share) ** 2, "--", color=QUIET, label="part of EMMET: $(1 - m)^2$")
    right.legend(loc=(0.38, 0.7))
    right.plot(missing, cost, "o", color=EDITED, markersize=10)
    right.annotate(f"λ = {strength:,.0f}", (missing - 0.04, cost - 0.02), color=INK, ha="right")
    right.annotate("λ = 0: EMMET", (0.04, 0.98), color=QUIET)
    right.set(
        xlabel="missing, m = ‖ΔK − R‖ / ‖R‖", ylabel="cost for text, as a fraction of EMMET's"
    )
    right.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.05))
    return legend(figure, *left.get_legend_handles_labels(), columns=3)


def halves(D: np.ndarray) -> Figure:
    """Draw the overlaps of a few keys twice: all, and the upper part that a row makes use of.

    The colors are the cosines of the whitened keys, D(i, j) / √(D(i, i) D(j, j)).
    """
    length = np.sqrt(np.diag(D))
    cosines = D / length[:, None] / length[None]
    upper = np.ma.masked_where(np.tri(len(D), k=-1), cosines)
    figure, axes = panels(
        2, height=3.3, titles=("used at once: all pairs", "used in a row: i before j")
    )
    for ax, matrix in zip(axes, (cosines, upper), strict=True):
        image = ax.imshow(matrix, cmap=DIVERGING.with_extremes(bad=GRID), vmin=-0.4, vmax=0.4)
        ax.set_xlabel("fact j")
        ax.set_xticks(range(0, len(D), 5), range(1, len(D) + 1, 5))
        ax.set_yticks(range(0, len(D), 5), range(1, len(D) + 1, 5))
        bare(ax)
    axes[0].set_ylabel("fact i")
    colorbar(figure, image, axes, "cosine of whitened keys i and j", extend="both", aspect=22)
    return figure


def staircase(plans: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw how a residual is written by several layers, one panel per plan.

    plans  {name: for every layer from below (asked, arrives), as shares of the whole residual}.
    """
    titles = [name.replace(", ", "\n") for name in plans]
    figure, axes = panels(len(plans), height=3.4, sharey=True, titles=titles)
    for ax, steps in zip(axes, plans.values(), strict=True):
        at = 0.0
        for i, (asked, arrives) in enumerate(steps):
            ax.add_patch(Rectangle((i + 0.12, at), 0.76, asked, facecolor=ASKED, linewidth=0))
            ax.add_patch(Rectangle((i + 0.12, at), 0.76, arrives, facecolor=EDITED, linewidth=0))
            at += arrives
            ax.plot([i + 0.88, i + 1.12], [at, at], color=QUIET, linewidth=1)
        end = len(steps)
        ax.axhline(1, color=INK, linewidth=1, linestyle="--")
        gap = {"arrowstyle": "<->", "color": NEIGHBOR}
        ax.annotate("", (end + 0.2, 1), (end + 0.2, at), arrowprops=gap)
        ax.text(end + 0.3, (1 + at) / 2, f"missing\n{1 - at:.2f}", va="center")
        ax.set_xticks([i + 0.5 for i in range(end)], range(1, end + 1))
        ax.set(xlim=(0, end + 1.5), ylim=(0, 1.12), xlabel="layer, from below")
        ax.set_yticks([0, 1], ["h", "z"])
    names = "requested from the layer, but does not arrive", "arrives"
    return legend(figure, (ASKED, EDITED), names)
