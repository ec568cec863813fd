"""The drawings of notebook 12: two paths, δ token by token, a full shard, a triangle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle

from lib.plot.style import (
    BASE,
    COLORS,
    CYCLE,
    DPI,
    EDITED,
    GRID,
    INK,
    LABEL,
    QUIET,
    SEQUENTIAL,
    SMALL,
    WIDTH,
    Drawing,
    contrast,
    editor_color,
    readable,
    token_text,
)

from .figures import plain

MARKERS = "osD^vP"
Share = tuple[float, float, float]  # mean and the ends of its interval, in %


def two_paths() -> Figure:
    """Draw a layer with two matrices, the score Δ between their outputs, and the switch."""
    figure = Drawing(figsize=(WIDTH, 3.1), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    thin = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "mutation_scale": 11}
    text = {"ha": "center", "va": "center", "color": INK, "fontsize": LABEL}
    small = {**text, "fontsize": SMALL, "color": QUIET}
    for i in range(4):
        ax.add_patch(Rectangle((0.2, 0.9 + 0.55 * i), 0.3, 0.4, color="#c9d0d8"))
    ax.text(0.35, 3.35, "inputs $a_p$", **text)
    ax.text(0.35, 0.45, "one for each\ntoken $p$", **small)
    _box(ax, (1.5, 2.3), (1.5, 0.9), BASE, "$W$", "main memory", "white")
    _box(ax, (1.5, 0.5), (1.5, 0.9), EDITED, r"$W' = W + \tau$", "side memory", "white")
    for y in (2.75, 0.95):
        ax.annotate("", (1.47, y), (0.55, 1.9), arrowprops=thin)
        ax.annotate("", (3.75, y), (3.05, y), arrowprops=thin)
    ax.text(4.15, 2.75, "$W a_p$", **text)
    ax.text(4.15, 0.95, "$W' a_p$", **text)
    ax.annotate("", (4.15, 2.15), (4.15, 2.5), arrowprops=thin)
    ax.annotate("", (4.15, 1.55), (4.15, 1.2), arrowprops=thin)
    ax.text(4.15, 1.85, r"$\delta_p = \|W'a_p - W a_p\|$", **text)
    ax.annotate("", (6.15, 1.85), (5.2, 1.85), arrowprops=thin)
    ax.text(5.66, 2.08, "mean", **small)
    _box(ax, (6.2, 1.4), (1.15, 0.9), "white", r"$\Delta \geq \varepsilon$ ?", "", INK)
    ax.annotate("", (8.1, 2.75), (7.4, 2.05), arrowprops={**thin, "color": BASE, "linewidth": 2})
    ax.annotate("", (8.1, 0.95), (7.4, 1.65), arrowprops={**thin, "color": EDITED, "linewidth": 2})
    ax.text(7.62, 2.6, "no", **small)
    ax.text(7.62, 1.1, "yes", **small)
    place = {"ha": "left", "va": "center", "fontsize": LABEL}
    ax.text(8.2, 2.75, "$W$ answers,\nnothing changed", color=readable(BASE), **place)
    ax.text(8.2, 0.95, "$W'$ answers,\nto the end", color=readable(EDITED), **place)
    ax.set(xlim=(-0.3, 10.1), ylim=(0.05, 3.6), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return figure


def tokens(prompts: Sequence[tuple[str, Sequence[str], Sequence[float]]], eps: float) -> Figure:
    """Draw prompts with a color per token, and beside them their mean Δ and who answers.

    prompts  (group, tokens, δ at each token)
    """
    figure = Drawing(
        figsize=(WIDTH, 0.62 * len(prompts) + 1.0), dpi=DPI, facecolor="white", layout="constrained"
    )
    ax = figure.add_subplot()
    norm = Normalize(0, max(x for _, _, each in prompts for x in each))
    wide = max(sum(_width(t) for t in some) for _, some, _ in prompts)
    for i, (group, some, each) in enumerate(prompts):
        x, y = 0.0, -1.3 * i
        delta = sum(each) / len(each)
        answers, color = ("W'", EDITED) if delta >= eps else ("W", BASE)
        name = f"{group}: Δ = {delta:.0f}, {answers} answers"
        ax.text(0, y + 0.42, name, fontsize=SMALL, color=readable(color), va="bottom")
        for token, value in zip(some, each, strict=True):
            ground = to_hex(SEQUENTIAL(norm(value)))
            ink = max(INK, "#ffffff", key=lambda c, g=ground: contrast(c, g))
            width = _width(token)
            ax.add_patch(Rectangle((x, y - 0.3), width - 0.12, 0.66, facecolor=ground))
            place = x + (width - 0.12) / 2, y + 0.03
            look = {"fontsize": SMALL, "ha": "center", "va": "center", "parse_math": False}
            ax.text(*place, token_text(token), color=ink, family="monospace", **look)
            x += width
    ax.set(xlim=(0, wide), ylim=(-1.3 * len(prompts) + 0.85, 1.05), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(norm, SEQUENTIAL), ax=ax, pad=0.02, aspect=18)
    bar.set_label("δ at the token", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure


def full(x: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[Share]]]) -> Figure:
    """Draw shares over the number of facts, one panel per way: {panel: {name: shares}}."""
    figure = Drawing(figsize=(WIDTH, 3.3), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, (title, series) in zip(axes, panels.items(), strict=True):
        shift = np.linspace(-1.2, 1.2, len(series))
        for i, (name, shares) in enumerate(series.items()):
            color = (EDITED, CYCLE[0], COLORS["neighbor"])[i]
            mean, low, high = np.array(shares).T
            here = np.array(x) + shift[i]
            ax.vlines(here, low, high, color=color, linewidth=1.3)
            ax.plot(here, mean, "-", color=color, linewidth=1.6)
            ax.plot(here, mean, MARKERS[i], color=color, markersize=5, label=name)
        ax.set_title(title, fontsize=LABEL, color=INK, loc="left")
        ax.set_xlabel("facts in the shard", fontsize=LABEL, color=INK)
        ax.set_xticks(x)
        ax.set(ylim=(-3, 104))
        plain(ax)
    axes[0].set_ylabel("of the first twenty facts (%)", fontsize=LABEL, color=INK)
    handles, names = axes[0].get_legend_handles_labels()
    _legend(figure, handles, names)
    return figure


def triangle(points: Mapping[str, Mapping[str, Share]]) -> Figure:
    """Draw editors by the rewordings that follow and by what is kept; areas show what is held.

    points  {editor: {"held", "reworded", "neighbors", "unrelated": share}}
    """
    figure = Drawing(figsize=(WIDTH, 3.7), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, kept in zip(axes, ("neighbors", "unrelated"), strict=True):
        for i, (name, shares) in enumerate(points.items()):
            color = _color(name)
            (x, left, right), (y, low, high) = shares["reworded"], shares[kept]
            ax.hlines(y, left, right, color=color, linewidth=1)
            ax.vlines(x, low, high, color=color, linewidth=1)
            area = 30 + 1.0 * shares["held"][0]
            look = {"marker": MARKERS[i % len(MARKERS)], "color": color, "linewidths": 0}
            ax.scatter(x, y, area, zorder=3 + (name == "unedited"), **look)
        ax.set_xlabel("rewordings that follow (%)", fontsize=LABEL, color=INK)
        ax.set_title(f"{kept} kept (%)", fontsize=LABEL, color=INK, loc="left")
        ax.set(xlim=(-4, 104), ylim=(-4, 104))
        ax.text(97, 97, "all three", fontsize=SMALL, color=QUIET, ha="right", va="top")
        plain(ax)
        ax.xaxis.grid(True, color=GRID)
    handles = [
        Line2D([], [], color=_color(name), marker=MARKERS[i % len(MARKERS)], linewidth=0)
        for i, name in enumerate(points)
    ]
    _legend(figure, handles, list(points))
    return figure


def _color(name: str) -> str:
    return EDITED if "rehearsal" in name else editor_color(name) or BASE


def _width(token: str) -> float:
    """The width of a token's box, in characters and a margin."""
    return 0.62 * len(token_text(token)) + 0.6


def _box(ax: Axes, at: tuple, size: tuple, color: str, name: str, below: str, ink: str) -> None:
    look = {"boxstyle": "round,pad=0.03", "facecolor": color, "linewidth": 1, "edgecolor": QUIET}
    ax.add_patch(FancyBboxPatch(at, *size, **look))
    x, y = at[0] + size[0] / 2, at[1] + size[1] / 2
    text = {"ha": "center", "va": "center", "color": ink}
    ax.text(x, y + 0.17 * bool(below), name, fontsize=LABEL, **text)
    if below:
        ax.text(x, y - 0.2, below, fontsize=SMALL, **text)


def _legend(figure: Figure, handles: Sequence, names: Sequence[str]) -> None:
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1,
        handleheight=1,
    )
