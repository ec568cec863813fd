"""The figures of notebook 06: what a batch is weighed against, a thin direction, 500 edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

from lib.plot.style import (
    BASE,
    DPI,
    EDITED,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    UNRELATED,
    WIDTH,
    Drawing,
    editor_color,
    readable,
)

from .figures import arrow, plain

KEPT = "#f6c7aa"  # written before and kept: a light orange
FIRST = {"fontsize": LABEL, "color": INK}


def sums(batches: int = 5) -> Figure:
    """Draw which terms stand in the sum of squares of each batch, without and with kept keys."""
    figure = Drawing(figsize=(WIDTH, 2.9), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, keep in zip(axes, (False, True), strict=True):
        for row in range(batches):
            for column in range(batches + 1):
                color = "white"
                if column == 0:
                    color = UNRELATED
                elif column == row + 1:
                    color = EDITED
                elif column <= row and keep:
                    color = KEPT
                place = column - 0.42, row - 0.42
                ax.add_patch(
                    Rectangle(place, 0.84, 0.84, facecolor=color, edgecolor=GRID, linewidth=1)
                )
        ax.set(xlim=(-0.6, batches + 0.6), ylim=(batches - 0.4, -0.6), aspect="equal")
        ax.set_xticks(range(batches + 1), ["text", *range(1, batches + 1)])
        ax.set_yticks(range(batches), range(1, batches + 1))
        ax.set_xlabel("general text, and the batches", **FIRST)
        ax.set_title("kept keys" if keep else "nothing kept", loc="left", **FIRST)
        ax.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("solve for batch", **FIRST)
    colors = {"text, λ times": UNRELATED, "written now": EDITED, "written before, kept": KEPT}
    handles = [Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
    _below(figure, handles, list(colors))
    return figure


def thin() -> Figure:
    """Draw keys of text as a flat cloud, and a subject's key with its part in the thin direction."""
    draw = np.random.default_rng(0)
    text = draw.normal(size=(260, 2)) * (1.0, 0.07)
    figure = Drawing(figsize=(WIDTH, 2.7), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    ax.plot(*text.T, "o", color=UNRELATED, alpha=0.45, markersize=3, linewidth=0)
    ax.axvline(0, color=QUIET, linewidth=1, linestyle="--", zorder=0)
    arrow(ax, (1.5, 0.75), EDITED)
    arrow(ax, (0, 0.75), INK)
    ax.plot([0, 1.5], [0.75, 0.75], ":", color=QUIET, linewidth=1.2)
    small = {"fontsize": SMALL, "va": "center"}
    ax.text(1.56, 0.76, "key k of a subject", color=readable(EDITED), **small)
    ax.text(-0.08, 0.6, "its part $Pk = QQ^\\top k$", color=INK, ha="right", **small)
    ax.text(-0.08, 1.02, "the direction that text does not use", color=QUIET, ha="right", **small)
    ax.text(2.0, -0.28, "keys of general text", color=readable(UNRELATED), ha="center", **small)
    ax.set(xlim=(-3.1, 3.1), ylim=(-0.42, 1.12), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return figure


def inside(
    values: Sequence[float], subjects: Sequence[float], share: float, names: tuple[str, str]
) -> Figure:
    """Draw how much of text and of subjects' keys lies in the lowest directions, over their number.

    values    Eigenvalues of C, ascending.
    subjects  For each direction the part of the subjects' keys in it; the parts add up to 1.
    share     The lowest directions that are the null space, as a share of all.
    """
    values, subjects = np.asarray(values), np.asarray(subjects)
    x = 100 * np.arange(1, len(values) + 1) / len(values)
    figure = Drawing(figsize=(WIDTH, 3.1), dpi=DPI, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(x, values, color=UNRELATED, linewidth=2)
    left.set(yscale="log")
    left.set_ylabel("eigenvalue of C", **FIRST)
    for y, name, color in zip((values, subjects), names, (UNRELATED, EDITED), strict=True):
        right.plot(x, 100 * y.cumsum() / y.sum(), color=color, linewidth=2, label=name)
    right.plot(x, x, ":", color=QUIET, linewidth=1, label="all directions alike")
    right.set_ylabel("of it inside (%)", **FIRST)
    right.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="upper left")
    for ax in (left, right):
        ax.axvspan(0, 100 * share, color=BASE, alpha=0.13, linewidth=0)
        ax.set(xlim=(0, 100))
        ax.set_xlabel("directions, lowest first (%)", **FIRST)
        plain(ax)
    left.text(50 * share, 0.93, "“null space”", transform=left.get_xaxis_transform(), ha="center",
              fontsize=SMALL, color=QUIET)  # fmt: skip
    return figure


def held(panels: Mapping[str, Mapping[str, Mapping]]) -> Figure:
    """Draw the share of facts held over the edits: {panel: {line: {edits: (mean, low, high)}}}."""
    figure = Drawing(figsize=(WIDTH, 3.6), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        shift = np.linspace(-14, 14, len(lines))
        for i, (name, points) in enumerate(lines.items()):
            x = np.array(list(points)) + shift[i]
            mean, low, high = np.array(list(points.values())).T
            look = _look(name)
            ax.vlines(x, low, high, color=look["color"], linewidth=1, alpha=0.7)
            ax.plot(x, mean, markersize=5, linewidth=1.6, label=name, **look)
        ax.set(ylim=(0, 104), xlim=(60, 540))
        ax.xaxis.set_major_locator(MultipleLocator(100))
        _titled(ax, title, "edits")
    axes[0].set_ylabel("facts held so far (%)", **FIRST)
    return _legend(figure, axes)


def _look(name: str) -> dict:
    """Color by editor, full lines where keys are kept, filled marks for the larger λ."""
    keeps = "kept" in name or name == "AlphaEdit"
    color = editor_color(name) or BASE
    look = {"color": color, "marker": "s" if "3/4" in name else "o"}
    dash = ":" if "3/4" in name else "-" if keeps else "--"
    return {**look, "linestyle": dash, "markerfacecolor": color if keeps else "white"}


def _titled(ax: Axes, title: str, xlabel: str) -> None:
    ax.set_title(title, loc="left", **FIRST)
    ax.set_xlabel(xlabel, **FIRST)
    plain(ax)


def _legend(figure: Figure, axes: Sequence[Axes]) -> Figure:
    found: dict[str, Line2D] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    return _below(figure, list(found.values()), list(found))


def _below(figure: Figure, handles: list, names: list[str]) -> Figure:
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=2 if isinstance(handles[0], Line2D) else 1,
    )
    return figure
