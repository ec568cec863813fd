"""The stress test as one picture that grows, as a table, and in words.

There is one line per editor: the share of the facts so far that are still said.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from html import escape

from lib.evaluation.intervals import interval
from lib.workbench.plot import palette

from .stress_test import Test

WIDTH, HEIGHT = 420, 280  # of the lines, in the units of the picture
LEFT, TOP, BOTTOM = 40, 26, 34  # margins around them
RIGHT = 190  # room for the names of the lines
APART = 3  # between lines that would lie on each other
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2", "1 3")  # so that color is not all that tells apart
HEADS = ("Editor", "Edits", "Still said", "Neighbors", "Perplexity", "s per edit", "Collapse")


def picture(test: Test) -> str:
    """All lines so far, and the same in a sentence."""
    if not test.measured:
        return '<p class="hint">The first point is being measured.</p>'
    names = palette.styles([line.name for line in test.lines])
    parts = [_axes(test)]
    for i, line in enumerate(test.lines):
        parts.append(_line(test, i, names[line.name][0]))
    told = "; ".join(
        f"{line.name} {100 * line.points[-1].retention:.0f} %" for line in test.lines if line.points
    )
    label = f"After {test.measured} of {len(test.cases)} edits, facts still said: {told}."
    width, height = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    return (
        f'<div class="race" tabindex="0" role="region" aria-label="Facts still said">'
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg></div>'
        f'<p class="source">{escape(label)}</p>'
    )


def _place(test: Test, edits: float, share: float) -> tuple[float, float]:
    return LEFT + WIDTH * edits / len(test.cases), TOP + HEIGHT * (1 - share)


def _axes(test: Test) -> str:
    """Grid, and names of the axes."""
    parts = [f'<text x="{LEFT}" y="14" class="head">facts so far that are still said, %</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _place(test, 0, share)
        parts.append(f'<line x1="{x}" x2="{x + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" class="end">{100 * share:.0f}</text>')
    for end in test.points:
        x, y = _place(test, end, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 15:.1f}" class="middle">{end}</text>')
    x, y = _place(test, len(test.cases) / 2, 0)
    parts.append(f'<text x="{x:.1f}" y="{y + 30:.1f}" class="middle">edits so far</text>')
    return "".join(parts)


def _line(test: Test, number: int, color: str) -> str:
    """One editor's way so far, a little beside the others' ways."""
    line, aside = test.lines[number], APART * (number - (len(test.lines) - 1) / 2)
    found = [_place(test, point.edits, point.retention) for point in line.points]
    points = " ".join(f"{x:.1f},{y + aside:.1f}" for x, y in found)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y + aside:.1f}" r="3.5"/>' for x, y in found)
    dash = DASHES[number % len(DASHES)]
    name = f"{line.name}, ended early" if line.error else line.name
    x, y = LEFT + WIDTH + 16, TOP + 10 + 20 * number  # in the list of names
    return (
        f'<g class="way" style="--of:{color}">'
        f'<polyline points="{points}" stroke-dasharray="{dash}"/>{dots}'
        f'<polyline points="{x},{y} {x + 28},{y}" stroke-dasharray="{dash}"/>'
        f'<text x="{x + 36}" y="{y + 4}">{escape(name)}</text></g>'
    )


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
    ends = [(line.name, test.collapse(line)) for line in test.lines if line.points]
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
