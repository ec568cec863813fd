"""The drawings of notebook 10: two counters that meet, standardized gradients, what a stream does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

import lib
from lib.workbench.plot.style import BASE, CYCLE, EDITED, GRID, INK, QUIET, readable

from .figures import bare, panels, plain

WAYS = {"base": BASE, "lifelong": lib.EDITORS["ultraedit"].color}
WAYS |= dict(zip(("per turn", "first turn", "none"), CYCLE, strict=False))


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
        "standardized: ĝ": (scaled, np.zeros(2), np.ones(2), zero, lib.EDITORS["ultraedit"].color),
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


def merge(a: Sequence[float], b: Sequence[float]) -> Figure:
    """Draw the values of two counters on a line, their means and how far these are from the joint one."""
    figure, (ax,) = panels(height=2.3)
    joint, ends = np.mean([*a, *b]), [min([*a, *b]) - 0.3, max([*a, *b]) + 0.3]
    head = {"arrowstyle": "<->", "color": QUIET, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    rows = {"a": (a, 1.0, 1.4, CYCLE[0]), "b": (b, 0.0, -0.6, CYCLE[2])}
    for name, (values, y, above, color) in rows.items():
        mean, other = np.mean(values), "ba"[name == "b"]
        ax.plot(ends, [y, y], color=GRID, zorder=0)
        ax.plot(values, [y] * len(values), "o", color=color, markersize=7, alpha=0.75)
        ax.plot([mean, mean], [y - 0.28, y + 0.28], color=color, linewidth=2.4)
        ax.text(mean, above, rf"$\mu_{name}$", ha="center", color=readable(color))
        ax.annotate("", (joint, 0.5), (mean, 0.5), arrowprops=head)
        ax.text((mean + joint) / 2, 0.57, rf"$\delta\,n_{other}/n$", ha="center")
        ax.plot([mean, mean], [min(y, 0.5), max(y, 0.5)], ":", color=color, linewidth=1)
    ax.plot([joint, joint], [-0.35, 1.35], color=INK, linewidth=1.6)
    ax.text(joint, 1.47, r"$\mu$ of both", ha="center")
    ax.set_yticks([0, 1], [f"b: {len(b)} values", f"a: {len(a)} values"])
    ax.set(ylim=(-0.75, 1.7), xticks=[])
    bare(ax)
    return figure


def tradeoff(lines: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """Draw one line per way with a cross of two intervals at every point.

    lines  {way: [((KL, low, high), (tokens right in %, low, high)), …]}
    """
    figure, (ax,) = panels(height=4.0)
    for marker, (way, points) in zip("Xos^D", lines.items(), strict=False):
        x, y = np.moveaxis(np.array(points), 0, 2)  # mean, low and high of all points
        ends = [np.abs(side[1:] - side[0]) for side in (y, x)]
        look = {"color": WAYS[way], "marker": marker, "markersize": 7, "elinewidth": 1}
        ax.errorbar(x[0], y[0], *ends, label=way, **look)
    ax.set(xlim=(-0.04, None), ylim=(0, None))
    ax.set(xlabel="KL divergence at unrelated prompts (nats)", ylabel="answer tokens right (%)")
    plain(ax)
    ax.legend(loc="lower right")
    return figure


def filling(
    edits: Sequence[int],
    moved: Sequence[float],
    points: Sequence[tuple[int, float, float, float]],
) -> Figure:
    """Draw two panels over the edits of one stream.

    moved    how far the weights have moved, in %; orthogonal turns are drawn beside it
    points   (edits, share, low, high) of the first turn's facts, in %
    """
    titles = "‖ΔW‖ / ‖W₀‖ (%)", "first hundred facts, answer tokens right (%)"
    figure, axes = panels(2, height=2.9, titles=titles)
    turns = [moved[0] * (at / edits[0]) ** 0.5 for at in edits]
    axes[0].plot(edits, turns, "--", color=BASE, linewidth=1.6, label="orthogonal turns")
    axes[0].plot(edits, moved, "o-", color=WAYS["lifelong"], markersize=3.5, label="measured")
    axes[0].legend(loc="lower right")
    at, share, low, high = np.array(points).T
    axes[1].errorbar(at, share, [share - low, high - share], color=EDITED, marker="o")
    for ax in axes:
        ax.set(xlim=(0, None), ylim=(0, None), xlabel="edits")
        plain(ax)
    return figure
