"""The drawings of notebook 16: a roofline, and what a million edits keep beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lib.plot.style import BASE, CYCLE, GRID, INK, LABEL, QUIET, legend, new_figure, readable

MARKS = {"search, 1 fact": "o", "search, 32 facts at once": "s",
         "UltraEdit, 1 fact": "^", "UltraEdit, 10 facts at once": "D"}  # fmt: skip


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
    for i, (label, (work, size)) in enumerate(loads.items()):
        at = work / size
        color = CYCLE[0] if label.startswith("search") else CYCLE[1]
        mark = MARKS.get(label, "osD^"[i % 4])
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


SIZES = {1e-6: "1 kB", 1e-4: "100 kB", 1e-2: "10 MB", 1: "1 GB", 100: "100 GB", 1e4: "10 TB"}
MEMORY = {  # the colors of notebook 14's families of editors; a dash is another editor of it
    "LEMoE, experts like the MLP": (CYCLE[3], "-"),
    "LEMoE, experts of rank 16": (CYCLE[3], "--"),
    "GRACE": (CYCLE[3], ":"),
    "WISE": (CYCLE[3], "-."),
    "MEMIT, keys kept": (CYCLE[0], "-"),
    "UltraEdit, published": (CYCLE[1], "-"),
    "retrieval": (CYCLE[4], "-"),
}


def memory(edits: Sequence[int], kept: Mapping[str, Sequence[float]], model: float) -> Figure:
    """Draw sizes (given in GB) over the number of edits, one line per method, and the model's own size."""
    figure, ax = new_figure("edits", "kept for one edited layer", None, height=4.6)
    ax.axhline(model, color=BASE, linewidth=1.8, linestyle="--", label="the model itself, bf16")
    for name, sizes in kept.items():
        color, dash = MEMORY[name]
        ax.plot(edits, sizes, dash, color=color, linewidth=1.8, label=name)
    ax.text(edits[0], 1.25 * model, "the model", color=readable(BASE))
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_yticks(list(SIZES), list(SIZES.values()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
    legend(figure, ax)
    return figure
