"""The drawings of notebook 11: GRACE's balls in a plane, and what its three rules do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lib.plot.style import CYCLE, DPI, INK, LABEL, QUIET, SMALL, WIDTH, Drawing, readable

COLORS = {"A": CYCLE[0], "B": CYCLE[2]}  # one color per answer


class Ball(NamedTuple):
    """A key in the plane, its radius and its answer; `before` is the radius that it had."""

    x: float
    y: float
    radius: float
    label: str
    before: float | None = None


# What each rule makes of one ball of radius 1 around (0, 0) and of a new fact, the last number pair.
RULES: Mapping[str, tuple[Sequence[Ball], tuple[float, float], str]] = {
    "add: they do not touch": (
        [Ball(0, 0, 1, "A"), Ball(2.3, 0.5, 1, "B")],
        (2.3, 0.5),
        r"$d > \varepsilon + \varepsilon_{init}$: a new ball",
    ),
    "expand: the same answer": (
        [Ball(0, 0, 1.53, "A", before=1)],
        (1.5, 0.3),
        "ε grows to d, no new key",
    ),
    "split: another answer": (
        [Ball(0, 0, 0.765, "A", before=1), Ball(1.5, 0.3, 0.765, "B")],
        (1.5, 0.3),
        "each gets half of d",
    ),
}


def rules() -> Figure:
    """Draw add, expand and split: dashed what was before, full what the rule makes of it."""
    figure = Drawing(figsize=(WIDTH, 2.7), dpi=DPI, facecolor="white", layout="constrained")
    for ax, (title, (balls, new, said)) in zip(figure.subplots(1, 3), RULES.items(), strict=True):
        for ball in balls:
            _ball(ax, ball)
        first = balls[0]
        ax.plot([first.x, new[0]], [first.y, new[1]], color=QUIET, linewidth=1, zorder=1)
        middle = (first.x + new[0]) / 2, (first.y + new[1]) / 2
        ax.text(
            middle[0] - (0.25 if new[0] < 2 else 0.0),
            middle[1] + 0.14,
            "d",
            color=QUIET,
            fontsize=SMALL,
            ha="center",
        )
        answer = balls[-1].label
        ax.plot(*new, "*", color=COLORS[answer], markersize=13, zorder=4, markeredgecolor="white")
        ax.text(
            new[0],
            new[1] - 0.42 if new[0] > 2 else new[1] + 0.95,
            f"new: {answer}",
            color=readable(COLORS[answer]),
            fontsize=SMALL,
            ha="center",
        )
        ax.set_title(title, fontsize=LABEL, color=INK)
        ax.text(0.85, -1.95, said, color=INK, fontsize=SMALL, ha="center")
        ax.set(xlim=(-1.75, 3.45), ylim=(-2.1, 1.7), aspect="equal")
        ax.axis("off")
    return figure


def nearest() -> Figure:
    """Draw a prompt inside a large ball whose nearest key is another one, with a small ball."""
    figure = Drawing(figsize=(WIDTH, 2.9), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    for ball in (Ball(0, 0, 3, "A"), Ball(4, 0, 0.5, "B")):
        _ball(ax, ball)
        ax.text(
            ball.x,
            ball.y - 0.5,
            f"key {ball.label}",
            color=readable(COLORS[ball.label]),
            fontsize=SMALL,
            ha="center",
            va="top",
        )
    ax.plot(2.8, 0, "D", color=INK, markersize=7, zorder=4)
    ax.text(2.75, 0.28, "q", color=INK, fontsize=LABEL, ha="center")
    ax.annotate("", (4, 0), (2.8, 0), arrowprops={"arrowstyle": "->", "color": QUIET})
    ax.text(
        5.0,
        1.3,
        "The nearest key of q is B, and q lies\noutside its ball. So nobody answers,\n"
        "though q lies inside the ball of A.",
        color=INK,
        fontsize=SMALL,
        va="center",
    )
    ax.set(xlim=(-3.2, 10.2), ylim=(-3.2, 3.2), aspect="equal")
    ax.axis("off")
    return figure


def _ball(ax: Axes, ball: Ball) -> None:
    color = COLORS[ball.label]
    place = ball.x, ball.y
    ax.add_patch(Circle(place, ball.radius, facecolor=color, alpha=0.16, linewidth=0))
    ax.add_patch(Circle(place, ball.radius, fill=False, edgecolor=color, linewidth=1.8))
    if ball.before:
        ax.add_patch(
            Circle(place, ball.before, fill=False, edgecolor=color, linewidth=1.2, linestyle="--")
        )
    ax.plot(*place, "o", color=color, markersize=5, zorder=3)
