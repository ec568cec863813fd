"""The drawings of notebook 11: GRACE's balls in a plane, and what its three rules do to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lessons.l7_2_codebook import rule
from lib.workbench.plot.style import CYCLE, INK, LABEL, QUIET, readable

from .figures import panels

COLORS = {"A": CYCLE[0], "B": CYCLE[2]}  # one color per answer


# Each rule on a ball of radius 1 around (0, 0): where a new fact is, its answer, and what happens.
RULES = {
    "add: they do not touch": (
        (2.3, 0.5),
        "B",
        r"$d > \varepsilon + \varepsilon_{init}$: a new ball",
    ),
    "expand: the same answer": ((1.5, 0.3), "A", "ε grows to d, no new key"),
    "split: another answer": ((1.5, 0.3), "B", "each gets half of d"),
}


def rules() -> Figure:
    """Draw add, expand and split: dashed what was before, full what the rule makes of it."""
    figure, axes = panels(3, height=2.7, titles=RULES)
    for ax, (new, answer, said) in zip(axes, RULES.values(), strict=True):
        radius, own = rule(math.hypot(*new), 1.0, answer == "A", 1.0)
        _ball(ax, (0, 0), radius, "A", before=1.0)
        if own:
            _ball(ax, new, own, answer)
        apart = radius == own == 1
        ax.plot([0, new[0]], [0, new[1]], color=QUIET, linewidth=1, zorder=1)
        middle = new[0] / 2 - (0.0 if apart else 0.25), new[1] / 2 + 0.14
        ax.text(*middle, "d", color=QUIET, ha="center")
        ax.plot(*new, "*", color=COLORS[answer], markersize=13, zorder=4, markeredgecolor="white")
        named = {"color": readable(COLORS[answer]), "ha": "center"}
        ax.text(new[0], new[1] + (-0.42 if apart else 0.95), f"new: {answer}", **named)
        ax.text(0.85, -1.95, said, ha="center")
        ax.set(xlim=(-1.75, 3.45), ylim=(-2.1, 1.7), aspect="equal")
        ax.axis("off")
    return figure


def nearest() -> Figure:
    """Draw a prompt inside a large ball whose nearest key is another one, with a small ball."""
    figure, (ax,) = panels(height=2.9)
    for label, x, radius in (("A", 0, 3), ("B", 4, 0.5)):
        _ball(ax, (x, 0), radius, label)
        named = {"color": readable(COLORS[label]), "ha": "center", "va": "top"}
        ax.text(x, -0.5, f"key {label}", **named)
    ax.plot(2.8, 0, "D", color=INK, markersize=7, zorder=4)
    ax.text(2.75, 0.28, "q", fontsize=LABEL, ha="center")
    ax.annotate("", (4, 0), (2.8, 0), arrowprops={"arrowstyle": "->", "color": QUIET})
    said = "The nearest key of q is B, and q is\noutside its ball. So no entry answers,\n"
    ax.text(5.0, 1.3, said + "although q is inside the ball of A.", va="center")
    ax.set(xlim=(-3.2, 10.2), ylim=(-3.2, 3.2), aspect="equal")
    ax.axis("off")
    return figure


def growing(stream: Sequence[tuple[float, str]], books: Mapping[str, Sequence]) -> Figure:
    """Draw the balls of a codebook on a line after each fact of a stream, one step below the other.

    stream  where each fact is, and its answer
    books   {whose: for each step the keys (1, n), the radii (n,) and the answers}
    """
    figure, axes = panels(len(books), height=0.55 * len(stream) + 0.9, titles=books, sharey=True)
    for ax, steps in zip(axes, books.values(), strict=True):
        for row, ((at, label), (K, eps, labels)) in enumerate(zip(stream, steps, strict=True)):
            for x, radius, answer in zip(K[0].tolist(), eps.tolist(), labels, strict=True):
                look = {"color": COLORS[answer], "height": 0.34, "edgecolor": "white"}
                ax.barh(row, 2 * radius, left=x - radius, alpha=0.4, **look)
                ax.plot(x, row, "o", color=COLORS[answer], markersize=6)
            ax.plot(at, row - 0.32, "v", color=COLORS[label], markersize=8, clip_on=False)
        ax.set_yticks(range(len(stream)), [f"{at:g} is {label}" for at, label in stream])
        ax.set(ylim=(len(stream) - 0.5, -0.6), xlabel="position on the line")
        ax.set_xlim(ax.dataLim.x0 - 0.2, ax.dataLim.x1 + 0.2)
        ax.xaxis.grid(True)
    return figure


def _ball(
    ax: Axes, place: tuple[float, float], radius: float, label: str, before: float | None = None
) -> None:
    """Draw a key, its ball, and dashed the ball that it had where this was another."""
    color = COLORS[label]
    line = {"fill": False, "edgecolor": color}
    ax.add_patch(Circle(place, radius, facecolor=color, alpha=0.16, linewidth=0))
    ax.add_patch(Circle(place, radius, linewidth=1.8, **line))
    if before and before != radius:
        ax.add_patch(Circle(place, before, linewidth=1.2, linestyle="--", **line))
    ax.plot(*place, "o", color=color, markersize=5, zorder=3)
