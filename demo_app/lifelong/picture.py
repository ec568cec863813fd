"""The stress test as one picture that grows, as a table, and in words.

There is one line per editor: the share of the facts so far that are still said.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from lib.evaluation.intervals import interval
from lib.workbench import plot

from .stress_test import Test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS = ("Editor", "Edits", "Still said", "Neighbors", "Perplexity", "s per edit", "Collapse")


def drawn(test: Test) -> Figure:
    """All lines so far, which are at least one; one that lies on another is thinner than it."""
    lines = [line for line in test.lines if line.points]
    x = {line.name: [point.edits for point in line.points] for line in lines}
    y = {line.name: [100 * point.retention for point in line.points] for line in lines}
    said = "facts so far that are still said, %"
    figure = plot.lines(x, y, "edits so far", said, ylim=(-5, 105))
    ax = figure.axes[0]
    ax.set(xlim=(0, len(test.cases) + 0.5), yticks=range(0, 101, 20))
    for under, drawn in enumerate(reversed(ax.lines)):
        drawn.set_linewidth(1.8 * (1 + under))
    return figure


def said(test: Test) -> str:
    """Where all lines are, in a sentence."""
    if not test.measured:
        return "The first point is being measured."
    told = "; ".join(
        f"{line.name} {100 * line.points[-1].retention:.0f} %" for line in test.lines if line.points
    )
    return f"After {test.measured} of {len(test.cases)} edits, facts still said: {told}."


def rows(test: Test) -> list[list[str]]:
    """The newest numbers of every line as text, one column per name in HEADS.

    A share stands with its 95 % interval over the facts or the neighbors that were asked.
    """
    found = []
    if test.base is not None:
        share, surprise = _share(test.base.neighbors), _number(test.base.perplexity)
        found.append(["before any edit", "0", "–", share, surprise, "–", "–"])
    for line in test.lines:
        each = f"{line.seconds / line.edits:.2f}" if line.edits else "–"
        if not line.points:
            found.append([line.name, str(line.edits), "–", "–", "–", each, "–"])
            continue
        point, end = line.points[-1], test.collapse(line)
        found.append(
            [
                line.name,
                str(point.edits),
                _share(point.right.values()),
                _share(point.neighbors),
                _number(point.perplexity),
                each,
                f"after {end[0]}" if end else "no",
            ]
        )
    return found


def notes(test: Test) -> list[str]:
    """A sentence for every line that ended early, or at which the model collapsed."""
    found = [f"{line.name} ended early: {line.error}" for line in test.lines if line.error]
    ends = [(line.name, test.collapse(line)) for line in test.lines]
    return found + [f"{name}: after {end[0]} edits {end[1]}." for name, end in ends if end]


def _share(right: Collection[bool]) -> str:
    """The share of what is right, with its 95 % interval: "75 % [35, 97]"."""
    if not right:
        return "–"
    low, high = (round(100 * end) for end in interval(list(map(float, right))))
    return f"{100 * sum(right) / len(right):.0f} % [{low}, {high}]"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞"
    return f"{value:.1f}" if value < 1000 else f"{value:.2g}"
