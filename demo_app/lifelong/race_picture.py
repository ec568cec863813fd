"""A race of editors as one picture that grows, and as text at each of its points.

Left is one line per editor, the share of the facts so far that are still said; beside it one raster
per editor, a row for each fact. What comes after the point in view is pale. It is drawn as SVG,
since it is drawn anew at every point, while the figures of figures.py are for taking away.
"""

from __future__ import annotations

from html import escape

from lib.plot import palette

from . import figures
from .stress_test import Line, Point, Test

WIDTH, HEIGHT = 420, 280  # of the lines, in the units of the picture
LEFT, TOP, BOTTOM = 40, 26, 34  # margins around them
CELL, RASTER, GAP = 15, 90, 18  # least widths of a raster's column and of a raster; space between
APART = 3  # between lines that would lie on each other
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2")  # so that color is not all that tells lines apart
COLORS = ("#eceff2", "#f2a572", "#0b3c66")  # as figures.STATES: not written yet, wrong, right
ANSWER = 40  # characters of an answer
NOTHING = '<p class="hint">The first point is being measured.</p>'


def counts(test: Test) -> list[int]:
    """Numbers of edits at which at least one line was measured, in their order."""
    return sorted({point.edits for line in test.lines for point in line.points})


def frame(test: Test, at: int = 0) -> str:
    """The picture and the text at a point of a race, counted from 1; 0 or too many: the newest."""
    measured = counts(test)
    if not measured:
        return NOTHING
    edits = measured[at - 1] if 1 <= at <= len(measured) else measured[-1]
    return f'<div class="race">{picture(test, edits)}{answers(test, edits)}</div>'


def picture(test: Test, edits: int) -> str:
    """All lines and rasters, what comes after `edits` edits pale."""
    names = palette.styles([line.name for line in test.lines])
    cell = max(CELL, RASTER / len(test.points))
    step = len(test.points) * cell + GAP
    whole = LEFT + WIDTH + 3 * GAP + step * len(test.lines)
    parts = [_axes(test, edits)]
    for i, line in enumerate(test.lines):
        color = names[line.name][0]
        parts.append(_line(test, i, color, edits))
        parts.append(_raster(test, line, color, LEFT + WIDTH + 3 * GAP + i * step, cell, edits))
    told = "; ".join(
        f"{line.name} {100 * point.retention:.0f} %"
        for line in test.lines
        if (point := _at(line, edits)) is not None
    )
    label = f"After {edits} of {len(test.cases)} edits, facts still said: {told}."
    height = TOP + HEIGHT + BOTTOM
    return (
        f'<div class="track"><svg viewBox="0 0 {whole:.0f} {height}" width="{whole:.0f}" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg></div>'
        f'<p class="source">{escape(label)}</p>'
    )


def _at(line: Line, edits: int) -> Point | None:
    """What was measured of a line after so many edits."""
    return next((point for point in line.points if point.edits == edits), None)


def _place(test: Test, edits: int, share: float) -> tuple[float, float]:
    x = LEFT + WIDTH * edits / len(test.cases)
    return x, TOP + HEIGHT * (1 - share)


def _axes(test: Test, edits: int) -> str:
    """Grid, names of the axes, and where one looks."""
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
    x, y = _place(test, edits, 1)
    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + HEIGHT}" class="now"/>')
    return "".join(parts)


def _line(test: Test, number: int, color: str, edits: int) -> str:
    """One editor's way so far, and its later points pale; a little beside the others' ways."""
    line, aside = test.lines[number], APART * (number - (len(test.lines) - 1) / 2)
    found = []
    for point in line.points:
        x, y = _place(test, point.edits, point.retention)
        found.append((point.edits, x, y + aside))
    if not found:
        return ""
    dash = DASHES[number % len(DASHES)]
    drawn = []
    for kind, some in (
        ("later", [one for one in found if one[0] >= edits]),
        ("", [one for one in found if one[0] <= edits]),
    ):
        points = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in some)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for _, x, y in some)
        drawn.append(f'<g class="way {kind}" style="--of:{color}">')
        drawn.append(f'<polyline points="{points}" stroke-dasharray="{dash}"/>')
        drawn.append(f"{dots}</g>")
    return "".join(drawn)


def _raster(test: Test, line: Line, color: str, left: float, cell: float, edits: int) -> str:
    """One editor's facts: a row for each, a column of the width `cell` for each point."""
    cells, height = figures.states(test, line), HEIGHT / len(test.cases)
    parts = [
        f'<text x="{left}" y="14" class="head" style="fill:{color}">{escape(line.name)}</text>'
    ]
    for column, end in enumerate(test.points):
        pale = ' class="later"' if end > edits else ""
        inside = "".join(
            f'<rect x="{left + column * cell:.1f}" y="{TOP + row * height:.1f}" '
            f'width="{cell - 1:.1f}" height="{max(height - 0.8, 0.8):.1f}" '
            f'fill="{COLORS[cells[row, column]]}"/>'
            for row in range(len(test.cases))
        )
        parts.append(f"<g{pale}>{inside}</g>")
    if line.error:
        parts.append(f'<text x="{left}" y="{TOP + HEIGHT + 15}">ended early</text>')
    return "".join(parts)


def answers(test: Test, edits: int) -> str:
    """What each editor's model says to the facts that were written by then, where it is known."""
    if not any(point.said for line in test.lines if (point := _at(line, edits)) is not None):
        return ""
    lines = [(line, point) for line in test.lines if (point := _at(line, edits)) is not None]
    head = "".join(f'<th scope="col">{escape(line.name)}</th>' for line, _ in lines)
    rows = []
    for row, case in enumerate(test.cases[:edits]):
        cells = "".join(_answer(line, point, row) for line, point in lines)
        rows.append(
            f'<tr><td class="prompt">{row + 1}. {escape(case.fact.text)} '
            f"<b>{escape(case.fact.target_new)}</b></td>{cells}</tr>"
        )
    return (
        f'<div class="said result" tabindex="0" role="region" aria-label="Answers after {edits} '
        f'edits"><table class="rows"><thead><tr><th scope="col">Fact</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _answer(line: Line, point: Point, row: int) -> str:
    text = " ".join(point.said.get(row, "").split())
    text = text if len(text) <= ANSWER else f"{text[:ANSWER]}…"
    kind, mark = {
        True: ("good", "✓"),
        False: ("bad", "✗"),
        None: ("free", "• a later fact says no"),
    }[point.right.get(row)]
    return (
        f'<td data-name="{escape(line.name)}"><span>{escape(text) or "–"}</span> '
        f'<small class="{kind}">{mark}</small></td>'
    )
