"""The drawings of notebook 08: the keys behind a flash, scores over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.workbench.plot.style import BASE, CYCLE, EDITED, INK, LABEL, QUIET, readable

from .figures import arrow, legend, panels, plain

KINDS = {False: ("other facts", CYCLE[0]), True: ("openers", CYCLE[1])}


def keys(subjects: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw the two keys of some subjects in the plane that they span after whitening.

    subjects  {name: (k₀ along k̄, k₀ across it)}, in units of the length of k̄.
    """
    figure, axes = panels(len(subjects), height=2.5, sharex=True, sharey=True, titles=subjects)
    high = 1.2 * max(0.4, *(across for _, across in subjects.values()))
    for ax, (along, across) in zip(axes, subjects.values(), strict=True):
        arrow(ax, (1, 0), BASE)
        arrow(ax, (along, across), EDITED)
        ax.plot([along, along], [0, across], "--", color=QUIET, linewidth=1)
        ax.plot(along, 0, "o", color=INK, markersize=5, zorder=5)
        said, left = f"$u^\\top k_0$ = {along:.2f} $u^\\top\\bar{{k}}$", along < 0.5
        place = {"textcoords": "offset points", "ha": "left" if left else "right"}
        ax.annotate(said, (along, 0), (4 if left else 0, -16), **place)
        ax.text(1.0, 0.04 * high, "$\\bar{k}$", color=readable(BASE), fontsize=LABEL, ha="right")
        ax.text(along + 0.03, across, "$k_0$", color=readable(EDITED), fontsize=LABEL, va="bottom")
        ax.set(xlim=(-0.12, 1.25), ylim=(-0.3 * high, high), aspect="equal")
        ax.set_xlabel("along the direction $u$")
        plain(ax)
    axes[0].set_ylabel("across it")
    return figure


def scores(rows: Sequence[Mapping]) -> Figure:
    """Draw the score of each fact over the layers, with a ring at the smallest.

    rows  Rows of `runs_08_wilke.stream`: "scores" {layer: s}, "opens" and "subject".
    """
    figure, (ax,) = panels(height=4.0)
    ring = {"marker": "o", "markerfacecolor": "white", "linestyle": "none"}
    for row in rows:
        color = KINDS[row["opens"]][1]
        found = {int(layer): s for layer, s in row["scores"].items()}
        ax.plot(list(found), list(found.values()), color=color, linewidth=1.6, alpha=0.8)
        best = min(found, key=found.__getitem__)
        ax.plot(best, found[best], color=color, markersize=7, markeredgewidth=1.8, zorder=3, **ring)
    ax.set(yscale="log", xlabel="layer", ylabel="score s, relative change of the matrix")
    ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
    ax.minorticks_off()
    plain(ax)
    lines = {name: Line2D([], [], color=color) for name, color in KINDS.values()}
    lines["smallest score: WilKE's choice"] = Line2D([], [], color=QUIET, **ring)
    return legend(figure, lines.values(), lines, 3)
