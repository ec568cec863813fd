"""The strength of an edit as a drawing: what it writes and what it leaves alone, over 0 to 2."""

from __future__ import annotations

from html import escape

from ..session.edits import Curve

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 560, 210, 44, 12, 40


def drawn(curve: Curve, present: float) -> str:
    """The curves as SVG with the present strength marked, and the same in words."""
    new = escape(curve.fact.target_new)
    lines = [("new", f"p({new}), the edit’s prompt", curve.new)]
    if curve.reworded:
        lines.append(("reworded", "the same, rewordings", curve.reworded))
    if curve.kept:
        lines.append(("kept", f"neighbors kept, of {curve.neighbors}", curve.kept))
    most = curve.at[-1]

    def x(strength: float) -> float:
        return LEFT + (WIDTH - LEFT - 12) * strength / most

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value)

    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{round(100 * v)} %</text>'
        for v in (0, 0.5, 1)
    )
    ticks = "".join(
        f'<text x="{x(s):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{s:g}</text>'
        for s in curve.at[::2]
    )
    drawn_lines = "".join(
        f'<polyline class="{kind}" points="'
        + " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(curve.at, values, strict=True))
        + '"/>'
        + f'<circle class="{kind}" cx="{x(present):.1f}" cy="{y(_at(curve, values, present)):.1f}" '
        'r="4.5"/>'
        for kind, _, values in lines
    )
    mark = (
        f'<line class="now" x1="{x(present):.1f}" x2="{x(present):.1f}" '
        f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    )
    legend = "".join(f'<li class="{kind}"><i></i>{name}</li>' for kind, name, _ in lines)
    said = "; ".join(
        f"{name}: " + ", ".join(f"{round(100 * v)} % at {s:g}"
                                for s, v in zip(curve.at[::2], values[::2], strict=True))
        for _, name, values in lines
    )  # fmt: skip
    return (
        f'<div class="strength"><ul>{legend}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{grid}{ticks}'
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">strength; '
        f"the edit as it was made is 1</text>{mark}{drawn_lines}</svg></div>"
    )


def _at(curve: Curve, values: tuple[float, ...], strength: float) -> float:
    """The value at a strength between two points, on the straight line between them."""
    for i, (low, high) in enumerate(zip(curve.at, curve.at[1:], strict=False)):
        if low <= strength <= high:
            part = (strength - low) / (high - low)
            return values[i] * (1 - part) + values[i + 1] * part
    return values[-1]
