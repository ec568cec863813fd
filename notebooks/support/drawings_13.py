"""The drawings of notebook 13: LEMoE's block, and the regions of two anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lib.workbench import plot
from lib.workbench.plot.style import BASE, CYCLE, EDITED, INK, LABEL, NEIGHBOR, QUIET, UNRELATED

from .figures import MARKERS, MIDDLE, THIN, arrow, bare, box, legend, panels

FROZEN, NULL = "#f6c7aa", "#c9d0d8"  # experts of earlier batches, and the anchor for nobody


def block(experts: int = 3) -> Figure:
    """Draw one layer with its MLP, experts beside it, and the router that reads embeddings."""
    figure, (ax,) = panels(height=3.7)
    text, small = MIDDLE | {"fontsize": LABEL}, MIDDLE | {"color": QUIET}
    # the layer
    ax.text(0.2, 3.4, "$x$", **text)
    ax.text(0.0, 2.6, "at every\ntoken", **small)
    box(ax, (1.5, 3.05), (1.9, 0.7), BASE, "the layer's MLP", "white")
    ax.plot([3.43, 7.0], [3.4, 3.4], color=QUIET, linewidth=1.2)
    ax.text(8.2, 3.4, r"$\mathrm{MLP}(x) + g_i f_i(x)$", **text | {"ha": "left"})
    ax.text(7.22, 3.4, "+", **text | {"fontsize": 16})
    # the experts and their anchors; the last one is the newest
    lines = [((1.47, 3.4), (0.4, 3.4)), ((8.1, 3.4), (7.45, 3.4)), ((1.47, 2.25), (0.4, 3.3))]
    lines += [((1.47, 0.75), (0.4, 0.75))]
    for m in range(experts):
        left, newest = 1.5 + 1.35 * m, m == experts - 1
        color, number, ink = (EDITED, "t", "white") if newest else (FROZEN, str(m + 1), INK)
        box(ax, (left, 1.95), (1.1, 0.6), color, f"$f_{number}$", ink)
        ax.text(left + 0.55, 1.72, "learns" if newest else "frozen", **small)
        box(ax, (left + 0.15, 0.55), (0.8, 0.42), color, f"$k_{number}$", ink)
        lines += [((left + 0.55, 1.6), (left + 0.55, 1.05))]
    for ends in lines:
        ax.annotate("", *ends, arrowprops=THIN)
    end = 1.5 + 1.35 * experts
    ax.plot([end - 0.2, 7.22], [2.25, 2.25], color=EDITED, linewidth=1.8)
    ax.annotate("", (7.22, 3.22), (7.22, 2.22), arrowprops=THIN | {"color": EDITED})
    ax.text(6.4, 2.42, "one of them", **small)
    # what the router reads, and the anchor for nobody
    left = small | {"ha": "left"}
    ax.text(0.2, 0.75, "$e$", **text)
    ax.text(0.2, 0.25, "mean of the prompt's\ninput embeddings", **left)
    box(ax, (end + 0.15, 0.55), (0.8, 0.42), NULL, "$b$", INK)
    ax.text(end + 1.15, 0.77, "no expert:\n$\\mathrm{MLP}(x)$ alone", **left)
    ax.text(end + 1.0, 0.15, "the highest score wins", **small)
    ax.set(xlim=(-0.2, 10.6), ylim=(-0.1, 3.95), xticks=[], yticks=[])
    bare(ax)
    return figure


def regions(
    points: Mapping[str, Sequence[tuple[float, float]]],
    null: float,
    names: tuple[str, str],
    notes: Mapping[str, tuple[float, float]],
) -> Figure:
    """Draw prompts by their scores at two anchors, and who answers in which region.

    points  {group: (score at the first anchor, at the second)}
    null    b, which a score has to exceed
    names   what the two experts learned
    notes   {a short name: its point}
    """
    axes = (f"score at anchor {i} ({name})" for i, name in enumerate(names, start=1))
    colors = dict(zip(points, (EDITED, CYCLE[2], NEIGHBOR, UNRELATED), strict=True))
    places = {group: tuple(zip(*some, strict=True)) for group, some in points.items()}
    figure = plot.scatter(places, *axes, colors=colors)
    ax = figure.axes[0]
    every = [x for some in points.values() for point in some for x in point]
    low, high = min([*every, null]) - 1.5, max([*every, null]) + 1.5
    ax.fill([low, null, null, low], [low, low, null, null], color=NULL, alpha=0.35, linewidth=0)
    for x, y in (((null, null), (low, null)), ((low, null), (null,) * 2), ((null, high),) * 2):
        ax.plot(x, y, "--", color=INK, linewidth=1.2)
    for name, (x, y) in notes.items():
        ax.scatter(x, y, 60, zorder=4, facecolors="none", edgecolors=INK, linewidths=1.2)
        # where there is room
        shift, side = ((0, -14), "center") if y > null else ((-8, 0), "right")
        place = {"textcoords": "offset points", "ha": side, "va": "center", "zorder": 5}
        ax.annotate(name, (x, y), shift, **place)
    ax.text(low + 0.3, low + 0.3, "no expert answers", ha="left", va="bottom", color=QUIET)
    ax.text(high - 0.3, low + 0.3, "expert 1 answers", ha="right", va="bottom", color=QUIET)
    ax.text(low + 0.3, high - 0.3, "expert 2 answers", ha="left", va="top", color=QUIET)
    ax.text(null + 0.2, low + 2, "$b$", ha="left", fontsize=LABEL)
    ax.set(xlim=(low, high), ylim=(low, high))
    return figure


def turned(paths: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw where facts of the first batch stand, by their scores at both anchors, stage by stage.

    paths  {stage: of each fact the score at its own anchor and at the newer one}; the first two
           stages follow one another, and all others follow the second
    """
    figure, (ax,) = panels(height=4.0)
    first, second, *others = paths.values()
    for after in (second, *others):
        for start, end in zip(first if after is second else second, after, strict=True):
            arrow(ax, end, QUIET, start, linewidth=1, mutation_scale=11, shrinkB=6)
    for color, marker, (stage, points) in zip(CYCLE, MARKERS, paths.items(), strict=False):
        x, y = zip(*points, strict=True)
        ax.plot(x, y, marker, color=color, markersize=8, label=f"after the {stage}", zorder=5)
    every = [value for points in paths.values() for point in points for value in point]
    low, high = min(every) - 2, max(every) + 2
    ax.plot([low, high], [low, high], "--", color=INK, linewidth=1.2)
    place = {"color": QUIET, "transform": ax.transAxes}
    ax.text(0.98, 0.03, "its own expert is nearer", ha="right", va="bottom", **place)
    ax.text(0.02, 0.97, "the newer expert is nearer", ha="left", va="top", **place)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set(xlabel="score at its own anchor", ylabel="score at the newer anchor")
    return legend(figure, *ax.get_legend_handles_labels())
