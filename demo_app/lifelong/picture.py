"""The stress test as two growing figures, as a table, and in words."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from lib.evaluation.intervals import interval
from lib.workbench import plot

from .stress_test import Test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS = ("Editor", "Edits", "Still hold", "Neighbors", "Perplexity", "Seconds per edit", "Broke")
SHARES = {  # attribute of a Point -> its description
    "retention": "New facts that still hold",
    "specificity": "Neighbors still answered correctly",
}
APART = 3  # points of vertical offset between lines with equal values
MEANING = (
    "Neighbors: other subjects, whose answers should stay. Perplexity: how much plain text "
    "surprises the model. In brackets: the 95% interval. An editor broke when the perplexity "
    "more than doubled, or when fewer than half of the neighbors that were right still are. In "
    "the figures, equal lines are drawn slightly apart."
)


def drawn(test: Test, share: str) -> Figure:
    """Plot one of SHARES over all edits so far, with a line per editor; needs at least one
    measurement.
    """
    from matplotlib.transforms import offset_copy  # slow to import, so only when needed

    points = {line.name: [test.base, *line.points] for line in test.lines if line.points}
    x = {name: [point.edits for point in some] for name, some in points.items()}
    y = {name: [100 * getattr(point, share) for point in some] for name, some in points.items()}
    figure = plot.lines(x, y, "edits so far", "%", ylim=(-5, 105))
    ax = figure.axes[0]
    ax.set(xlim=(0, len(test.cases) + 0.5), yticks=range(0, 101, 20))
    for place, line in enumerate(ax.lines):
        up = APART * (place - (len(points) - 1) / 2)  # keep equal lines from hiding each other
        line.set_transform(offset_copy(ax.transData, figure, y=up, units="points"))
    return figure


def said(test: Test) -> str:
    """A few sentences on which editors have broken, and after how many edits."""
    if not test.measured:
        return "Measuring the first point."
    ends = {line.name: test.collapse(line) for line in test.lines if line.points}
    held = ", ".join(name for name, end in ends.items() if not end) or "none"
    broke = "".join(f" {name} broke after {end[0]}: {end[1]}." for name, end in ends.items() if end)
    return f"After {test.measured} of {len(test.cases)} edits, not broken: {held}.{broke}"


def rows(test: Test) -> list[list[str]]:
    """The latest numbers for every line as text, one per name in HEADS.

    A percentage comes with its 95% interval over the tested facts or neighbors.
    """
    found = []
    if test.base is not None:
        share, surprise = _share(test.base.neighbors), _number(test.base.perplexity)
        found.append(["before any edit", "0", "–", share, surprise, "–", "–"])
    for line in (one for one in test.lines if one.points):
        point, end = line.points[-1], test.collapse(line)
        found.append(
            [
                line.name,
                str(point.edits),
                _share(point.right.values()),
                _share(point.neighbors),
                _number(point.perplexity),
                f"{line.seconds / line.edits:.2f}",
                f"after {end[0]}" if end else "no",
            ]
        )
    return found


def notes(test: Test) -> list[str]:
    """An explanation of the columns, with a sentence for every line that ended early."""
    early = [f"{line.name} ended early: {line.error}" for line in test.lines if line.error]
    return [*early, MEANING]


def _share(right: Collection[bool]) -> str:
    """The percentage of correct answers, with its 95% interval: "75% [35, 97]"."""
    if not right:
        return "–"
    low, high = (round(100 * end) for end in interval(list(map(float, right))))
    return f"{100 * sum(right) / len(right):.0f}% [{low}, {high}]"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞"
    return f"{value:.1f}" if value < 1000 else f"{float(f'{value:.1e}'):,.0f}"
