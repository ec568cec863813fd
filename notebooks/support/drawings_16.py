"""The drawing of notebook 16: a roofline."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lib.workbench.plot.style import CYCLE, GRID, INK, LABEL, QUIET, legend, new_figure


def roofline(
    loads: Mapping[str, tuple[float, float]], peak: float, bandwidth: float, name: str
) -> Figure:
    """Draw what a processor can reach at most, over the multiply-adds per byte that it reads.

    loads  {what is done: (multiply-adds, bytes read)}; each is a point under the roof.
    name   Whose roof it is.
    """
    axes = "multiply-adds for each byte of weights read", "multiply-adds per second, at most"
    figure, ax = new_figure(*axes, None, height=4.2)
    x = np.geomspace(3, 1000, 200)
    ridge = peak / bandwidth
    ax.axvspan(3, ridge, color=GRID, alpha=0.45, linewidth=0)
    ax.plot(x, np.minimum(peak, bandwidth * x), color=INK, linewidth=2)
    for mark, (label, (work, size)) in zip("os^D", loads.items(), strict=True):
        at = work / size
        color = CYCLE[0] if label.startswith("search") else CYCLE[1]
        top = min(peak, bandwidth * at)
        ax.plot([at, at], [top / 300, top], color=color, linewidth=0.9, alpha=0.6)
        ax.plot([at], [top], mark, color=color, markersize=9, label=label, zorder=4)
    ax.set(xscale="log", yscale="log", xlim=(3, 1000), ylim=(peak / 40, 2 * peak))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e12:g} · 10¹²"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.text(3.3, 1.45 * peak, "waits for memory", color=QUIET)
    ax.text(1.1 * ridge, 1.45 * peak, "waits for arithmetic", color=QUIET)
    ax.set_title(name, fontsize=LABEL)
    legend(figure, ax)
    return figure
