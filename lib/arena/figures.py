"""The figures of an arena: what was written over what was left alone, one point per editor."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from .. import plot
from .arena import Arena
from .cells import BASE
from .report import groups


def figures(arena: Arena) -> dict[tuple[str, int], Figure]:
    """{(data, edits): what was written over what was left alone}, both by generation."""
    drawn = {}
    for place, found in groups(arena.results).items():
        points = {}
        for editor, result in found.items():
            pairs = result.scores.by_case()
            written = "retention" if ("retention", "generation") in pairs else "efficacy"
            if (written, "generation") in pairs and ("specificity", "generation") in pairs:
                y = 100 * pairs[written, "generation"]["mean"].mean()
                x = 100 * pairs["specificity", "generation"]["mean"].mean()
                points[editor] = [x], [y]
        if points:
            data, edits = place
            what = "50 single edits" if edits == 1 else f"{edits} edits in a row"
            drawn[place] = plot.scatter(
                points,
                "neighbors still right (%)",
                "facts still said (%)",
                title=f"{data}, {what}",
                colors={name: plot.BASE for name in points if name == BASE},
            )
    return drawn


def pictures(arena: Arena) -> dict[tuple[str, int], bytes]:
    """The figures as PNG files."""
    found = {}
    for place, figure in figures(arena).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        found[place] = buffer.getvalue()
    return found
