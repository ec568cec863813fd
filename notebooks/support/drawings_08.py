"""The drawings of notebook 08: curves over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lib.workbench.plot.style import BASE, CYCLE, EDITED, HEIGHT, QUIET

from .figures import legend, panels, plain

LOOK = {  # name of a line: color, dash
    "other": (BASE, "-"),
    "subject at the first position": (CYCLE[1], "-"),
    "your fact": (EDITED, "-"),
    "yours": (QUIET, "--"),
    "China": (CYCLE[0], "-"),
    "Rome": (CYCLE[1], "-"),
    "Britain": (CYCLE[2], "-"),
}


def curves(
    found: Mapping[str, Sequence[tuple[str, Sequence[float]]]],
    xlabel: str,
    ylabel: str = "",
    *,
    best: bool = False,
    sharey: bool = True,
) -> Figure:
    """Draw lines on logarithmic axes, in one panel or several.

    found  {panel: [(name, one value per layer)]}; lines of one name look alike.
    best   Whether the smallest value of each line gets a ring.
    """
    figure, axes = panels(len(found), height=HEIGHT + 0.4, titles=found, sharey=sharey)
    ring = {"marker": "o", "markerfacecolor": "white", "linestyle": "none"}
    handles = {}
    for ax, lines in zip(axes, found.values(), strict=True):
        for name, y in lines:
            color, dash = LOOK[name]
            x = np.arange(len(y))
            handles[name], *_ = ax.plot(x, y, dash, color=color, linewidth=1.6, alpha=0.85)
            if best:
                at = int(np.argmin(y))
                ax.plot(x[at], y[at], color=color, markersize=7, zorder=3, **ring)
        ax.set(yscale="log", xlabel=xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        plain(ax)
    axes[0].set_ylabel(ylabel)
    if best:
        handles["the smallest of a line"] = Line2D([], [], color=QUIET, **ring)
    return legend(figure, handles.values(), handles, 2)
