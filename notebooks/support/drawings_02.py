"""The figures of notebook 02: interference as a shadow, and as a matrix of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from torch import Tensor

from lib import plot
from lib.plot.style import (
    CYCLE,
    DIVERGING,
    DPI,
    EDITED,
    GRID,
    INK,
    LABEL,
    NEIGHBOR,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    readable,
    short,
)

KEYS = {"alike": (0.85, 0.2), "unrelated": (0.0, 0.8), "opposed": (-0.4, 0.5), "long": (1.5, 0.9)}


def shadow() -> plot.Figure:
    """Draw four keys and the feet of their perpendiculars on the edited key.

    The plane is whitened and its unit is the length of the edited key, so that the foot of each key
    stands at its ρ.
    """
    figure = Drawing(figsize=(WIDTH, 2.9), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    ax.axhline(0, color=QUIET, linewidth=1, zorder=0)
    for name, (x, y) in KEYS.items():
        ax.plot([x, x], [0, y], "--", color=QUIET, linewidth=1)
        _arrow(ax, (x, y), NEIGHBOR)
        ax.plot(x, 0, "o", color=INK, markersize=5, zorder=5)
        text = {"ha": "center", "fontsize": SMALL}
        ax.annotate(
            f"ρ = {x:.2f}".replace("-", "−"),
            (x, 0),
            (0, -8),
            textcoords="offset points",
            va="top",
            color=INK,
            **text,
        )
        ax.annotate(
            name,
            (x, y),
            (0, 5),
            textcoords="offset points",
            va="bottom",
            color=readable(NEIGHBOR),
            **text,
        )
    _arrow(ax, (1, 0), EDITED)
    ax.annotate(
        "edited key i",
        (0.42, 0),
        (0, -8),
        textcoords="offset points",
        ha="center",
        va="top",
        color=readable(EDITED),
        fontsize=SMALL,
    )
    ax.set(xlim=(-0.7, 1.8), ylim=(-0.22, 1.0), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return figure


def by_group(
    rho: Tensor, groups: Mapping[str, Sequence[str]], writers: str, hearers: str
) -> plot.Figure:
    """Draw ρ (n, n) as colors from −1 to 1, its facts in groups: {group: names}.

    Rows and columns are the same facts in the same order. Only the rows carry their names; brackets
    above and to the right name the groups.
    """
    names = [name for some in groups.values() for name in some]
    if tuple(rho.shape) != (len(names), len(names)):
        raise ValueError(f"ρ is {tuple(rho.shape)}, but {len(names)} facts have names.")
    figure = Drawing(figsize=(WIDTH, 6.6), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(rho.numpy(), cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    ax.set_yticks(range(len(names)), [short(name) for name in names], fontsize=SMALL, color=INK)
    ax.set_xticks([])
    ax.set_xlabel(hearers, fontsize=LABEL, color=INK)
    ax.set_ylabel(writers, fontsize=LABEL, color=INK)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    start, end = 0, len(names)
    line = {"color": INK, "linewidth": 1.2, "clip_on": False}
    for group, some in groups.items():
        first, last = start - 0.35, start + len(some) - 0.65
        middle = (first + last) / 2
        ax.plot([first, last], [-0.9, -0.9], **line)
        ax.plot([end - 0.1, end - 0.1], [first, last], **line)
        text = {"color": INK, "fontsize": SMALL}
        ax.text(middle, -1.2, group.replace(" ", "\n", 1), ha="center", va="bottom", **text)
        ax.text(end + 0.25, middle, group.replace(" ", "\n", 1), ha="left", va="center", **text)
        start += len(some)
        if start < end:
            ax.axhline(start - 0.5, color=GRID, linewidth=1)
            ax.axvline(start - 0.5, color=GRID, linewidth=1)
    ax.set(xlim=(-0.5, end - 0.5), ylim=(end - 0.5, -0.5))
    bar = figure.colorbar(image, ax=ax, orientation="horizontal", pad=0.02, aspect=40, shrink=0.7)
    label = "ρ(i, j), the share of the residual that lands (beyond ±1: as ±1)"
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure


def sweeps(errors: Mapping[str, Sequence[float]]) -> plot.Figure:
    """Draw what is still wrong after each sweep over the pairs, the start as sweep 0."""
    counts = range(len(next(iter(errors.values()))))
    figure = plot.lines(
        counts,
        errors,
        "sweeps over all pairs, one insert after another",
        "wrong (share of what was missing)",
        ylog=True,
        colors=dict(zip(errors, CYCLE, strict=False)),
    )
    ax = figure.axes[0]
    ax.axvline(1, color=EDITED, linewidth=1.2, linestyle="--")
    text = {"xytext": (5, 4), "textcoords": "offset points", "va": "bottom"}
    place = (1, 0), ax.get_xaxis_transform()
    name = "written in a row: one sweep"
    color = readable(EDITED)
    ax.annotate(name, place[0], xycoords=place[1], color=color, fontsize=SMALL, **text)
    return figure


def _arrow(ax: Axes, end: tuple[float, float], color: str) -> None:
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, (0, 0), arrowprops={**look, "mutation_scale": 15}, zorder=4)
