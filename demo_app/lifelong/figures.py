"""The stress test as figures, as rows of a table, as sentences, and as a file.

Nothing is measured here, and the rows and sentences are plain text: html/ makes the page of them.
A few lines over 300: each form of the same numbers stands beside the others.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from lib import plot
from lib.evaluation.intervals import interval

from .stress_test import Line, Test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {  # name -> (how it is written, what it says)
    "efficacy": ("efficacy (%)", "right after its own batch"),
    "retention": ("retention (%)", "all facts so far, asked again"),
    "specificity": ("specificity (%)", "neighbors still right"),
    "perplexity": ("perplexity", "of held-out text; lower is better"),
    "change": ("‖ΔW‖ / ‖W₀‖ (%)", "of the matrix that changed most"),
}
STATES = ("#eceff2", "#f2a572", "#0b3c66")  # not yet or contradicted, wrong, right
WORDS = ("not asked", "wrong", "still right")
HEADS = (  # of the table
    "Editor",
    "Edits",
    "Efficacy",
    "Retention",
    "Specificity",
    "Perplexity",
    "‖ΔW‖/‖W₀‖",
    "s per edit",
    "Collapse",
)


def values(test: Test, line: Line, name: str) -> list[float]:
    """A curve's numbers, one per point; shares and changes in %."""
    if name == "efficacy":
        return [100 * line.efficacy(point.edits) for point in line.points]
    factor = 1 if name == "perplexity" else 100
    return [factor * getattr(point, name) for point in line.points]


def _drawing(height: float) -> Figure:
    """An empty figure as wide as the page."""
    return plot.style.Drawing(
        figsize=(11, height), dpi=plot.style.DPI, facecolor="white", layout="constrained"
    )


def curves(test: Test) -> Figure:
    """All curves over the number of edits so far; × where a line has collapsed."""
    from matplotlib.ticker import MaxNLocator

    figure = _drawing(6.1)
    axes = figure.subplots(2, 3).ravel()
    names = plot.style.styles([line.name for line in test.lines])
    total = len(test.cases)
    for ax, (name, (label, note)) in zip(axes, PANELS.items(), strict=False):
        ax.set_title(f"{label}\n", fontsize=plot.style.TITLE, color=plot.style.INK, loc="left")
        ax.text(
            0, 1.03, note, transform=ax.transAxes, fontsize=plot.style.SMALL, color=plot.style.QUIET
        )
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(plot.style.QUIET)
        ax.tick_params(
            which="both",
            labelsize=plot.style.SMALL,
            colors=plot.style.QUIET,
            labelcolor=plot.style.INK,
        )
        ax.grid(True, axis="y", color=plot.style.GRID)
        ax.set_axisbelow(True)
        ax.set_xlim(0, total * 1.04)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if ax in axes[2:]:
            ax.set_xlabel("edits so far", fontsize=plot.style.LABEL, color=plot.style.INK)
        _base(ax, test, name)
        for i, line in enumerate(test.lines):
            _curve(ax, test, line, name, names[line.name][0], plot.style.DASHES[i % 4], "osD^v"[i])
        if name in ("efficacy", "retention", "specificity"):
            ax.set_ylim(-5, 109)
        elif name == "perplexity":
            _log(ax, test)
        else:
            ax.set_ylim(0, None)
    _legend(axes[-1], test, names)
    return figure


def _curve(ax, test: Test, line: Line, name: str, color: str, dash: str, marker: str) -> None:
    x, y = [point.edits for point in line.points], values(test, line, name)
    ax.plot(x, y, dash, color=color, marker=marker, markersize=4.5, linewidth=1.8, alpha=0.95)
    if (end := test.collapse(line)) and end[0] in x:
        at = x.index(end[0])
        if math.isfinite(y[at]):
            ax.plot(x[at], y[at], "x", color=color, markersize=12, markeredgewidth=2.6, zorder=5)


def _base(ax, test: Test, name: str) -> None:
    """What the model scored before any edit, as a thin line."""
    if test.base is not None and name in ("specificity", "perplexity"):
        level = getattr(test.base, name) * (100 if name == "specificity" else 1)
        if math.isfinite(level):
            ax.axhline(level, color=plot.style.BASE, linewidth=1.1, linestyle=(0, (1, 2)))


def _log(ax, test: Test) -> None:
    """A log axis once a line has left the base behind; numbers, not powers of ten."""
    from matplotlib.ticker import NullFormatter

    found = [p.perplexity for line in test.lines for p in line.points]
    found = [p for p in found if math.isfinite(p)]
    base = test.base.perplexity if test.base else 1.0
    if max(found, default=base) > 4 * base:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.3g}" if value < 1e6 else "")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(0, 1.15 * max([base, *found]))


def _legend(ax, test: Test, names: dict[str, tuple[str, str]]) -> None:
    ax.axis("off")
    for i, line in enumerate(test.lines):
        ax.plot(
            [],
            [],
            plot.style.DASHES[i % 4],
            color=names[line.name][0],
            marker="osD^v"[i],
            markersize=5,
            linewidth=1.8,
            label=line.name,
        )
    ax.plot(
        [], [], color=plot.style.BASE, linewidth=1.1, linestyle=(0, (1, 2)), label="before any edit"
    )
    ax.plot(
        [],
        [],
        "x",
        color=plot.style.INK,
        markersize=9,
        markeredgewidth=2.2,
        linestyle="none",
        label="collapse: perplexity doubled,\nor half of the neighbors lost",
    )
    ax.legend(
        loc="upper left",
        frameon=False,
        fontsize=plot.style.LABEL,
        labelcolor=plot.style.INK,
        borderaxespad=0,
    )


def states(test: Test, line: Line) -> np.ndarray:
    """(edits, points): 2 still right, 1 wrong, 0 not written yet, or contradicted by then."""
    cells = np.zeros((len(test.cases), len(test.points)), dtype=int)
    for point in line.points:
        for row, right in point.right.items():
            cells[row, test.points.index(point.edits)] = 2 if right else 1
    return cells


def raster(test: Test) -> Figure:
    """One picture per line: row = edit, column = time of measuring, cell = still right."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count, edits = len(test.lines), len(test.cases)
    height = min(max(1.9 + 0.13 * edits, 3.2), 7)
    figure = _drawing(height)
    axes = figure.subplots(1, count, sharey=True, squeeze=False).ravel()
    norm = BoundaryNorm([-0.5, 0.5, 1.5, 2.5], 3)
    for ax, line in zip(axes, test.lines, strict=True):
        cells = states(test, line)
        ax.pcolormesh(
            np.arange(len(test.points) + 1),
            np.arange(edits + 1),
            cells,
            cmap=ListedColormap(STATES),
            norm=norm,
            edgecolors="white",
            linewidth=0.8,
        )
        ax.set_ylim(edits, 0)
        ax.set_xticks(np.arange(len(test.points)) + 0.5, [str(end) for end in test.points])
        ax.set_title(line.name, fontsize=plot.style.LABEL, color=plot.style.INK, loc="left")
        ax.tick_params(
            length=0, labelsize=plot.style.SMALL, colors=plot.style.QUIET, labelcolor=plot.style.INK
        )
        ax.set_xlabel("measured after … edits", fontsize=plot.style.SMALL, color=plot.style.INK)
        ax.spines[:].set_visible(False)
    step = plot.style.every_nth(edits / 14)
    axes[0].set_yticks(np.arange(0, edits, step) + 0.5, [str(i + 1) for i in range(0, edits, step)])
    axes[0].set_ylabel("edit", fontsize=plot.style.LABEL, color=plot.style.INK)
    for value, word in enumerate(WORDS):
        axes[0].plot([], [], "s", color=STATES[value], markersize=10, label=word)
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=plot.style.SMALL,
        labelcolor=plot.style.INK,
    )
    return figure


def rows(test: Test) -> list[list[str]]:
    """The newest numbers of every line as text, one column per name in HEADS.

    A share stands with its 95 % interval over the facts or the neighbors that were asked.
    """
    found = []
    if test.base is not None:
        share, surprise = _share(test.base.neighbors), _number(test.base.perplexity)
        found.append(["before any edit", "0", "–", "–", share, surprise, "0 %", "–", "–"])
    for line in test.lines:
        edits = line.points[-1].edits if line.points else line.edits
        found.append([line.name, str(edits), *_latest(test, line)])
    return found


def ended(test: Test) -> list[str]:
    """A sentence for every line that ended early."""
    return [f"{line.name} ended early: {line.error}" for line in test.lines if line.error]


def _latest(test: Test, line: Line) -> list[str]:
    each = _seconds(line)
    if not line.points:
        return [_share(line.said_at_once(line.edits)), "–", "–", "–", "–", each, "–"]
    point, end = line.points[-1], test.collapse(line)
    return [
        _share(line.said_at_once(point.edits)),
        _share(point.right.values()),
        _share(point.neighbors),
        _number(point.perplexity),
        _percent(point.change, 2),
        each,
        f"after {end[0]}" if end else "no",
    ]


def words(test: Test) -> list[tuple[str, str]]:
    """The figures in words: (editor, what it forgot, and when and why it collapsed)."""
    found = []
    for line in test.lines:
        if not line.points:
            continue
        last = line.points[-1]
        lost = [row + 1 for row, right in last.right.items() if line.first.get(row) and not right]
        text = f"after {last.edits} edits "
        text += f"{sum(last.right.values())} of {len(last.right)} facts are still said"
        if lost:
            shown = ", ".join(map(str, lost[:12])) + (", …" if len(lost) > 12 else "")
            text += f"; forgotten since they were written: {shown}"
        if end := test.collapse(line):
            text += f"; collapse after {end[0]} edits ({end[1]})"
        found.append((line.name, f"{text}."))
    return found


def sheet(test: Test) -> str:
    """All points as CSV; shares from 0 to 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["editor", "edits", "efficacy", "retention", "specificity", "perplexity", "change"]
    writer.writerow([*heads, "seconds", "collapsed"])
    if test.base is not None:
        writer.writerow(["base", 0, "", "", test.base.specificity, test.base.perplexity, 0, "", ""])
    for line in test.lines:
        end = test.collapse(line)
        for point in line.points:
            row = [
                line.editor,
                point.edits,
                line.efficacy(point.edits),
                point.retention,
                point.specificity,
                point.perplexity,
                point.change,
            ]
            each = line.seconds / line.edits if line.edits else ""
            writer.writerow([*row, each, bool(end and point.edits >= end[0])])
    return out.getvalue()


def _seconds(line: Line) -> str:
    each = line.seconds / line.edits if line.edits else math.nan
    return "–" if math.isnan(each) else f"{each:.2f}" if each >= 0.01 else "< 0.01"


def _share(right: Collection[bool]) -> str:
    """The share of what is right, with its 95 % interval: "75 % [35, 97]"."""
    if not right:
        return "–"
    low, high = (round(100 * end) for end in interval(list(map(float, right))))
    return f"{100 * sum(right) / len(right):.0f} % [{low}, {high}]"


def _percent(share: float, digits: int = 0) -> str:
    digits = digits if share else 0
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else "–"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞"
    return f"{value:.1f}" if value < 1000 else f"{value:.2g}"
