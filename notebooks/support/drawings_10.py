"""The drawings of notebook 10: standardized gradients, and two counters that meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lib.workbench.plot.style import BASE, CYCLE, DASHES, GRID, INK, QUIET, editor_color, readable

from .figures import bare, panels, plain


def standardized(raw: np.ndarray, scaled: np.ndarray) -> Figure:
    """Draw two coordinates of the same gradients, before and after they are standardized.

    raw, scaled  (2, n), one column per answer token. The ellipse has one deviation in each
    direction, and the cross stands at a gradient of zero. Both axes of a panel have one scale.
    """
    unit = raw.std(1, ddof=1).max()
    mean, deviation = raw.mean(1) / unit, raw.std(1, ddof=1) / unit
    zero = -mean / deviation  # where a gradient of zero comes to lie
    drawn = {
        "g, over the larger deviation": (raw / unit, mean, deviation, np.zeros(2), BASE),
        "standardized: ĝ": (scaled, np.zeros(2), np.ones(2), zero, editor_color("ultraedit")),
    }
    figure, axes = panels(2, height=3.5, titles=drawn)
    turn = np.linspace(0, 2 * np.pi, 200)
    for ax, (points, middle, widths, cross, color) in zip(axes, drawn.values(), strict=True):
        ax.scatter(*points, s=12, color=color, alpha=0.6, linewidths=0)
        ellipse = middle[:, None] + widths[:, None] * np.stack([np.cos(turn), np.sin(turn)])
        ax.plot(*ellipse, color=INK, linewidth=1.4)
        ax.plot(*middle, "o", color=INK, markersize=4, label="mean")
        ax.plot(*cross, "x", color=CYCLE[0], markersize=9, markeredgewidth=2, label="g = 0")
        ax.set(xlim=(-3.3, 3.3), ylim=(-3.3, 3.3), aspect="equal")
        ax.set_xlabel("the coordinate that varies most")
        plain(ax)
    axes[0].set_ylabel("the one that varies least")
    axes[1].legend(loc="upper right")
    return figure


def merge(a: Sequence[float], b: Sequence[float], joint: Mapping[str, float]) -> Figure:
    """Draw the values of two counters on a line, their means, and the mean {whose: mean} of both."""
    figure, (ax,) = panels(height=2.6)
    ends = [min([*a, *b]) - 0.3, max([*a, *b]) + 0.3]
    both, *_ = joint.values()
    head = {"arrowstyle": "<->", "color": QUIET, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    rows = {"a": (a, 1.0, 1.4, CYCLE[0]), "b": (b, 0.0, -0.6, CYCLE[2])}
    for name, (values, y, above, color) in rows.items():
        mean, other = np.mean(values), "ba"[name == "b"]
        ax.plot(ends, [y, y], color=GRID, zorder=0)
        ax.plot(values, [y] * len(values), "o", color=color, markersize=7, alpha=0.75)
        ax.plot([mean, mean], [y - 0.28, y + 0.28], color=color, linewidth=2.4)
        ax.text(mean, above, rf"$\mu_{name}$", ha="center", color=readable(color))
        ax.annotate("", (both, 0.5), (mean, 0.5), arrowprops=head)
        ax.text((mean + both) / 2, 0.57, rf"$\delta\,n_{other}/n$", ha="center")
        ax.plot([mean, mean], [min(y, 0.5), max(y, 0.5)], ":", color=color, linewidth=1)
    for i, (whose, mean) in enumerate(joint.items()):
        ax.plot([mean, mean], [-0.35, 1.35], DASHES[i], color=INK, linewidth=1.6)
        ax.text(mean, 1.47 + 0.3 * i, rf"$\mu$ {whose}", ha="center")
    ax.set_yticks([0, 1], [f"b: {len(b)} values", f"a: {len(a)} values"])
    ax.set(ylim=(-0.75, 1.7 + 0.3 * (len(joint) - 1)), xlim=ends, xticks=[])
    bare(ax)
    return figure
