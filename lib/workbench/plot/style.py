"""The style of every figure: names at the ends of lines, legends, texts that fit.

Sizes, spines and colors of axes and text come from the style sheet `course.mplstyle`, applying to
everything drawn by Matplotlib after importing this module. For the meaning of colors, see
palette.py.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from .palette import (  # noqa: F401  # plotting functions import colors and sizes from one place
    BASE,
    COLORS,
    CYCLE,
    DASHES,
    EDITED,
    GRID,
    INK,
    NEIGHBOR,
    QUIET,
    UNRELATED,
    editor_color,
    styles,
)

# set permanently, not in a context: contexts of two threads would end each other
SHEET = Path(__file__).with_name("course.mplstyle")
mpl.rcParams.update(mpl.rc_params_from_file(SHEET, use_default_template=False))
WIDTH, HEIGHT = mpl.rcParams["figure.figsize"]  # inches
DPI = mpl.rcParams["figure.dpi"]  # dots per inch: 836 px wide
# points; 10 points are 15 px
TITLE, LABEL = mpl.rcParams["axes.titlesize"], mpl.rcParams["axes.labelsize"]
SMALL = mpl.rcParams["font.size"]

LEVELS = (
    121  # colors of a heat map; together with the grays of the text they fit into a palette of 256
)
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "sequential", ["#ffffff", "#8fc1e6", "#0b3c66"], LEVELS
)
DIVERGING = LinearSegmentedColormap.from_list(
    "diverging", ["#0b3c66", "#5aa5dc", "#ffffff", "#ef8a4c", "#7a2d02"], LEVELS
)


class Drawing(Figure):
    """A Figure that Jupyter shows as PNG; without pyplot, a bare Figure only shows its name."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        small = io.BytesIO()  # a palette of 256 colors: a third of the size, and looks the same
        drawn = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        drawn.save(small, "png", optimize=True)
        return small.getvalue()


def new_figure(xlabel: str, ylabel: str, title: str | None, height: float = HEIGHT) -> tuple:
    """Return a figure (height in inches) and its axes, named and styled."""
    figure = Drawing(figsize=(WIDTH, height))
    ax = figure.add_subplot(xlabel=textwrap.fill(xlabel, 76), ylabel=textwrap.fill(ylabel, 40))
    ax.grid(axis="y")
    if title:
        ax.set_title(textwrap.fill(title, 72), parse_math=False)
    return figure, ax


def name_ends(figure: Figure, ax: Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Write each name at the end of its line, moved apart to avoid overlapping.

    The connection between a name and its line is thin, gray and dotted, so it cannot be mistaken
    for data: no series is ever drawn in this gray, or this thin.
    """
    figure.draw_without_rendering()  # now the height of the axes is known
    gap = 1.25 * SMALL * DPI / 72 / ax.get_window_extent().height  # of one name, in axes heights
    if len(ends) * gap > 1.05 or any(len(name) > 26 for name, *_ in ends):
        legend(figure, ax)
        return
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = sorted(ends, key=lambda end: to_axes.transform(end[1:3])[1])
    wanted = [min(max(to_axes.transform(end[1:3])[1], 0), 1) for end in ends]
    for (name, x, y, color), height in zip(ends, _spread(wanted, gap), strict=True):
        ax.annotate(
            name,
            (x, y),
            (1.03, height),
            textcoords="axes fraction",
            va="center",
            color=readable(color),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": QUIET,
                "linewidth": 0.6,
                "linestyle": (0, (1, 3)),
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def legend(figure: Figure, ax: Axes) -> None:
    """Put a legend below the axes, increasing the figure's height by the same amount."""
    handles, names = ax.get_legend_handles_labels()
    columns = max(1, min(len(names), 90 // (8 + max(map(len, names), default=0))))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.24 * math.ceil(len(names) / columns))
    figure.legend(handles, names, loc="outside lower center", ncols=columns)


def contrast(color: str, background: str = "#ffffff") -> float:
    """Return the contrast of two colors by WCAG 2, from 1 (equal) to 21 (black on white)."""
    a, b = sorted((_luminance(color), _luminance(background)))
    return (b + 0.05) / (a + 0.05)


def readable(color: str) -> str:
    """Darken a color until it can be read as text on white (contrast 4.5)."""
    rgb = to_rgb(color)
    while contrast(to_hex(rgb)) < 4.5:
        rgb = (0.95 * rgb[0], 0.95 * rgb[1], 0.95 * rgb[2])
    return to_hex(rgb)


def token_text(token: str) -> str:
    """Make a token visible: " Rome" -> "␣Rome"; line ends and missing glyphs become codes."""
    font = get_font(findfont("DejaVu Sans"))
    shown = "␣" + token[1:] if token.startswith(" ") else token
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    has = [bool(font.get_char_index(ord(c))) for c in shown]
    shown = "".join(c if ok else f"U+{ord(c):04X}" for c, ok in zip(shown, has, strict=True))
    return shown if len(shown) <= 24 else shown[:23] + "…"


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move rising heights as little as possible (least squares) until neighbors are gap apart.

    [0.5, 0.5, 0.9], 0.1 -> [0.45, 0.55, 0.9]
    """
    # isotonic regression of height − i·gap: neighbors in the wrong order share their mean
    blocks: list[list[float]] = []  # [value, number of names] of each run of equal values
    for i, height in enumerate(heights):
        blocks.append([height - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (b, m), (a, n) = blocks.pop(), blocks.pop()
            blocks.append([(a * n + b * m) / (n + m), n + m])
    # back to heights, inside the axes
    level = [value for value, n in blocks for _ in range(int(n))]
    top = 1 - (len(level) - 1) * gap
    return [min(max(value, 0), max(top, 0)) + i * gap for i, value in enumerate(level)]


def _luminance(color: str) -> float:
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
