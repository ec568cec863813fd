"""The drawings of notebook 12: two paths, and δ token by token."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.workbench.plot.style import (
    BASE,
    EDITED,
    INK,
    LABEL,
    QUIET,
    SEQUENTIAL,
    contrast,
    readable,
    token_text,
)

from .figures import MIDDLE, THIN, bare, box, colorbar, panels


def two_paths() -> Figure:
    """Draw a layer with two matrices, the score Δ between their outputs, and the switch."""
    figure, (ax,) = panels(height=3.1)
    for i in range(4):
        ax.add_patch(Rectangle((0.2, 0.9 + 0.55 * i), 0.3, 0.4, color="#c9d0d8"))
    box(ax, (1.5, 2.3), (1.5, 0.9), BASE, "$W$", "white", "main memory")
    box(ax, (1.5, 0.5), (1.5, 0.9), EDITED, r"$W' = W + \tau$", "white", "side memory")
    lines = [((1.47, y), (0.55, 1.9)) for y in (2.75, 0.95)]
    lines += [((3.75, y), (3.05, y)) for y in (2.75, 0.95)]
    lines += [((4.15, 2.15), (4.15, 2.5)), ((4.15, 1.55), (4.15, 1.2)), ((6.15, 1.85), (5.2, 1.85))]
    for ends in lines:
        ax.annotate("", *ends, arrowprops=THIN)
    said = {(0.35, 3.35): "inputs $a_p$", (4.15, 2.75): "$W a_p$", (4.15, 0.95): "$W' a_p$"}
    for at, name in (said | {(4.15, 1.85): r"$\delta_p = \|W'a_p - W a_p\|$"}).items():
        ax.text(*at, name, fontsize=LABEL, **MIDDLE)
    notes = {(0.35, 0.45): "one for each\ntoken $p$", (5.66, 2.08): "mean"}
    for at, name in (notes | {(7.62, 2.6): "no", (7.62, 1.1): "yes"}).items():
        ax.text(*at, name, color=QUIET, **MIDDLE)
    box(ax, (6.2, 1.4), (1.15, 0.9), "white", r"$\Delta \geq \varepsilon$ ?", INK)
    place = {"ha": "left", "va": "center", "fontsize": LABEL}
    for y, start, color, said in (
        (2.75, 2.05, BASE, "$W$ answers,\nnothing changed"),
        (0.95, 1.65, EDITED, "$W'$ answers,\nto the end"),
    ):
        look = THIN | {"color": color, "linewidth": 2}
        ax.annotate("", (8.1, y), (7.4, start), arrowprops=look)
        ax.text(8.2, y, said, color=readable(color), **place)
    ax.set(xlim=(-0.3, 10.1), ylim=(0.05, 3.6), xticks=[], yticks=[])
    bare(ax)
    return figure


def tokens(prompts: Sequence[tuple[str, Sequence[str], Sequence[float], bool]]) -> Figure:
    """Draw prompts with a color per token, each under a line of text.

    prompts  (text, tokens, δ at each token, whether a side memory answers)
    """
    figure, (ax,) = panels(height=0.62 * len(prompts) + 1.0)
    norm = Normalize(0, max(x for _, _, each, _ in prompts for x in each))
    wide = max(sum(_width(t) for t in some) for _, some, *_ in prompts)
    look = MIDDLE | {"parse_math": False, "family": "monospace"}
    for i, (name, some, each, edited) in enumerate(prompts):
        x, y = 0.0, -1.3 * i
        color = readable(EDITED if edited else BASE)
        ax.text(0, y + 0.42, name, color=color, va="bottom", parse_math=False)
        for token, value in zip(some, each, strict=True):
            ground, width = to_hex(SEQUENTIAL(norm(value))), _width(token) - 0.12
            ink = max(INK, "#ffffff", key=lambda c, g=ground: contrast(c, g))
            ax.add_patch(Rectangle((x, y - 0.3), width, 0.66, facecolor=ground))
            ax.text(x + width / 2, y + 0.03, token_text(token), color=ink, **look)
            x += _width(token)
    ax.set(xlim=(0, wide), ylim=(-1.3 * len(prompts) + 0.85, 1.05), xticks=[], yticks=[])
    bare(ax)
    colors = ScalarMappable(norm, SEQUENTIAL)
    colorbar(figure, colors, [ax], "δ at the token", pad=0.02, aspect=18)
    return figure


def _width(token: str) -> float:
    """The width of a token's box, in characters and a margin."""
    return 0.62 * len(token_text(token)) + 0.6
