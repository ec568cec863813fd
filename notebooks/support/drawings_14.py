"""The drawings of notebook 14: a row for each editor, and dots for what it does in each stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from lib.workbench.plot.style import CYCLE, EDITED, INK, LABEL, QUIET, readable

from .figures import legend, panels

COLORS = {  # of a family of editors
    "searches": CYCLE[0],
    "gradients": CYCLE[1],
    "fine-tuning": CYCLE[2],
    "external memory": CYCLE[3],
    "retrieval": CYCLE[4],
}
SHADES = "#b9c3cd", CYCLE[0], EDITED  # of several series, from the first to the last
MARKERS = "oD^"


def by_editor(
    found: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    families: Mapping[str, Sequence[str]],
    xlabel: str,
    *,
    log: Sequence[str] = (),
    dotted: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a panel per column and a row per editor, in the order of the families.

    found  {panel: {series: {editor: its values}}}; of one series the dots are values and the bar is
           their mean, of several each dot is a mean
    log    the panels with a logarithmic axis
    dotted  {panel: where it has a dotted line}
    """
    names = [name for members in families.values() for name in members]
    family = {name: group for group, members in families.items() for name in members}
    figure, axes = panels(len(found), height=0.23 * len(names) + 1.3, sharey=True, titles=found)
    edges = [sum(map(len, [*families.values()][:i])) - 0.5 for i in range(1, len(families))]
    for ax, (what, series) in zip(axes, found.items(), strict=True):
        for y, name in enumerate(names):
            color = COLORS[family[name]]
            some = [[*of[name]] for of in series.values() if name in of]
            means = [sum(values) / len(values) for values in some]
            if len(series) == 1:
                for values in some:
                    ax.plot(values, [y] * len(values), "o", color=color, markerfacecolor="white")
                ax.plot(means, [y] * len(means), "|", color=color, markersize=10, markeredgewidth=2)
                continue
            ax.plot(means, [y] * len(means), color=QUIET, linewidth=0.8, zorder=0)
            for at, shade, mark in zip(means, SHADES, MARKERS, strict=False):
                ax.plot(at, y, mark, color=shade, markersize=5.5, clip_on=False)
        if what in (dotted or {}):
            ax.axvline(dotted[what], color=INK, linewidth=1, linestyle=":", zorder=0)
        for edge in edges:
            ax.axhline(edge, color=QUIET, linewidth=0.6)
        ax.set(xscale="log" if what in log else "linear", ylim=(len(names) - 0.4, -0.6))
        if what in log:
            ax.xaxis.set_minor_formatter(NullFormatter())  # there is no room for names between tens
        else:
            ax.set(xlim=(-6, 106), xticks=(0, 50, 100))
        ax.grid(True, axis="x")
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), names)
    for label, name in zip(axes[0].get_yticklabels(), names, strict=True):
        label.set_color(readable(COLORS[family[name]]))
    figure.supxlabel(xlabel, fontsize=LABEL)
    labels = [*next(iter(found.values()))]
    if len(labels) == 1:
        return legend(figure, COLORS.values(), COLORS, 5, loc="outside upper center")
    dots = [
        Line2D([], [], marker=mark, color=shade, linewidth=0)
        for mark, shade, _ in zip(MARKERS, SHADES, labels, strict=False)
    ]
    return legend(figure, dots, labels, len(labels), loc="outside upper center")


def ranking(
    scores: Mapping[str, Sequence[float]],
    best: Sequence[str],
    unbeaten: Mapping[str, Sequence[str]],
    xlabel: str,
    first: int = 12,
) -> Figure:
    """Draw the first editors by the mean of their scores, a dot per stream.

    scores    {editor: its score in each stream}
    best      the editors whose dots are filled
    unbeaten  {whose choice: the editors that it keeps, which get a ring, or a square for a second one}
    """
    names = sorted(scores, key=lambda name: -sum(scores[name]))[:first]
    figure, (ax,) = panels(height=0.28 * len(names) + 1.1)
    for y, name in enumerate(names):
        mean = sum(scores[name]) / len(scores[name])
        drawn = {"the mean": ([mean], "|", {"color": INK, "markersize": 13, "markeredgewidth": 2})}
        if name in best:
            drawn["a stream of an editor that may be best"] = scores[name], "o", {"color": EDITED}
        else:
            look = {"color": QUIET, "markerfacecolor": "white"}
            drawn["a stream of another one"] = scores[name], "o", look
        for mark, (whose, some) in zip("os", unbeaten.items(), strict=False):
            if name in some:
                look = {"color": INK, "markersize": 15, "markerfacecolor": "none"}
                drawn[f"not beaten by the leader ({whose})"] = [mean], mark, look
        for label, (x, mark, look) in drawn.items():
            ax.plot(x, [y] * len(x), mark, label=label, **look)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel=xlabel)
    ax.xaxis.grid(True)
    handles = {label: line for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    return legend(figure, handles.values(), handles, 2)
