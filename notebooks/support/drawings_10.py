"""The drawings of notebook 10: standardized gradients, and where a shift arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lib.workbench.plot.style import BASE, CYCLE, INK, LABEL, QUIET, editor_color

from .figures import panels, plain


def standardized(raw: np.ndarray, scaled: np.ndarray) -> Figure:
    """Draw two coordinates of the same gradients, before and after they are standardized.

    raw, scaled  (2, n), one column per answer token. The ellipse has one deviation in each
    direction, and the cross stands at a gradient of zero. Both axes of a panel have one scale.
    """
    unit = raw.std(1, ddof=1).max()
    mean, deviation = raw.mean(1) / unit, raw.std(1, ddof=1) / unit
    zero = -mean / deviation  # where a gradient of zero comes to lie
    drawn = {
        "g / the larger deviation": (raw / unit, mean, deviation, np.zeros(2), BASE),
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
    axes[0].set_ylabel("the coordinate that varies least")
    axes[1].legend(loc="upper right")
    return figure


def arriving(
    strips: Mapping[str, Mapping[str, Sequence[float]]],
    gains: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    colors: Mapping[str, str],
) -> Figure:
    """Draw which share of each shift arrives, in a panel per place, and what it is good for.

    strips  {place: {where it arrives: one share per fact}}; a bar is the median
    gains   {place: (shares, gains in nats)} at the rewordings, in the last panel
    colors  {place: color}; a place with ", yours" has the place's
    """
    figure, axes = panels(
        len(strips) + 1, height=3.9, titles=strips, width_ratios=[1] * len(strips) + [1.3]
    )
    for ax, (place, columns) in zip(axes, strips.items(), strict=False):
        color = colors[place.removesuffix(", yours")]
        for x, (_, shares) in enumerate(columns.items()):
            aside = 0.22 * np.sin(2.4 * np.arange(len(shares)))
            ax.plot(x + aside, shares, "o", color=color, markersize=4, alpha=0.6)
            ax.plot([x - 0.32, x + 0.32], [np.median(shares)] * 2, color=INK, linewidth=2)
        ax.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
        ax.set(ylim=(-0.3, 1.3), xlim=(-0.6, len(columns) - 0.4))
        plain(ax)
    axes[0].set_ylabel("fraction of a shift that arrives")
    for ax in axes[1:-1]:
        ax.tick_params(labelleft=False)
    for place, (shares, gained) in gains.items():
        axes[-1].plot(shares, gained, "o", color=colors[place], markersize=4.5, alpha=0.7)
    axes[-1].axhline(0, color=QUIET, linewidth=1)
    axes[-1].set(xlabel="fraction at a rewording")
    axes[-1].set_title("gain of log p (nats)", fontsize=LABEL)
    plain(axes[-1])
    return figure
