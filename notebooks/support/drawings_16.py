"""The drawing of notebook 16: a roofline."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lib.workbench.plot.style import CYCLE, GRID, INK, QUIET, legend, new_figure


def roofline(
    loads: Mapping[str, tuple[float, float]], roofs: Mapping[str, tuple[float, float]]
) -> Figure:
    """Draw what processors can reach at most, over the tokens in a pass, with weights of two bytes.

    loads  {what is done: (multiply-adds, bytes read)}; each is a point under the last roof
    roofs  {card: (multiply-adds, bytes read in a second)}
    """
    below = "tokens in a pass: multiply-adds for each weight read"
    figure, ax = new_figure(below, "multiply-adds per second, at most", None, height=4.2)
    x = np.geomspace(6, 2000, 200)
    for card, (peak, bandwidth) in roofs.items():
        dash = "--" if card == next(iter(roofs)) else "-"
        ax.plot(x, np.minimum(peak, bandwidth * x / 2), dash, color=INK, linewidth=1.6, label=card)
    ridge = 2 * peak / bandwidth
    ax.axvspan(6, ridge, color=GRID, alpha=0.45, linewidth=0)
    for color, mark, (label, (work, size)) in zip(CYCLE, "os", loads.items(), strict=False):
        top, tokens = min(peak, bandwidth * work / size), 2 * work / size
        ax.vlines(tokens, top / 300, top, color=color, linewidth=0.9, alpha=0.6)
        ax.plot(tokens, top, mark, color=color, markersize=9, label=label, zorder=4)
    ax.set(xscale="log", yscale="log", xlim=(6, 2000), ylim=(peak / 60, 2 * peak))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e12:g} · 10¹²"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.text(6.6, 1.4 * peak, f"{card} waits for memory", color=QUIET)
    ax.text(1.1 * ridge, 1.4 * peak, "waits for arithmetic", color=QUIET)
    legend(figure, ax)
    return figure
