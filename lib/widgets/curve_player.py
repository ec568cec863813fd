"""`CurvePlayer` plays a lifelong run: curves and answers up to a chosen number of edits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import plot
from ..plot.points import MARKERS
from ..plot.style import legend
from .panel import Panel, View

COLORS = {
    "held": plot.EDITED,
    "reworded": plot.CYCLE[0],
    "neighbors": plot.NEIGHBOR,
    "unrelated": plot.UNRELATED,
}


@dataclass(frozen=True)
class Played:
    """The curves and answers of a run, ready to be played.

    edits    The numbers of edits at which the run was measured.
    curves   {name: one value per point}; NaN where there is none.
    answers  One {prompt: generated text} per point, or nothing at all.
    """

    edits: Sequence[int]
    curves: Mapping[str, Sequence[float]]
    answers: Sequence[Mapping[str, str]] = field(default=())


class CurvePlayer(Panel):
    """A panel that moves over the edits of a lifelong run, whose curves grow with them.

    The table shows the model's answers at the present number of edits.

    played  A `Played`, or {name: one} for several to choose from.
    edits   The number of edits at the beginning, by default the last one.
    line    The run at the beginning, by default the first.
    """

    def __init__(
        self,
        played: Played | Mapping[str, Played],
        edits: int | None = None,
        line: str | None = None,
        *,
        ylabel: str = "right (%)",
        limits: tuple[float, float] = (0, 104),
        colors: Mapping[str, str] | None = None,
    ) -> None:
        self.runs = dict(played) if isinstance(played, Mapping) else {"run": played}
        self.ylabel, self.limits, self.colors = ylabel, limits, {**COLORS, **(colors or {})}
        points = {tuple(one.edits) for one in self.runs.values()}
        if len(points) > 1:
            raise ValueError("runs that are played together need the same numbers of edits")
        self.points = list(points.pop())
        super().__init__(
            line=line or next(iter(self.runs)), edits=self.points[-1] if edits is None else edits
        )

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        return {
            "line": ipywidgets.Dropdown(
                options=list(self.runs), value=self.values["line"], description="Run"
            ),
            "edits": ipywidgets.SelectionSlider(
                options=self.points,
                value=self.values["edits"],
                description="Edits so far",
                continuous_update=False,
            ),
        }

    def look(self, line: str, edits: int) -> View:
        """The curves up to the present point on the axes of the whole run, and its answers."""
        one, at = self.runs[line], self.points.index(edits)
        curves = {
            name: [y if i <= at else math.nan for i, y in enumerate(map(float, values))]
            for name, values in one.curves.items()
        }
        title = f"{line}, {edits} edits" if len(self.runs) > 1 else f"{edits} edits"
        figure = plot.lines(
            self.points,
            curves,
            "edits so far",
            self.ylabel,
            ylim=self.limits,
            title=title,
            colors=self.colors,
            named=False,
        )
        ax = figure.axes[0]
        # where values are equal, the lower curve is the wider one and can still be seen
        for i, drawn in enumerate(ax.lines):
            over = len(curves) - 1 - i
            drawn.set(marker=MARKERS[i % len(MARKERS)], markersize=5 + 1.8 * over)
            drawn.set_linewidth(1.6 + 0.9 * over)
        legend(figure, ax)  # beside a curve's end its name would hide where the curve goes next
        if len(self.points) <= 12:
            ax.set_xticks(self.points)
        margin = 0.02 * max(self.points[-1] - self.points[0], 1)
        ax.set_xlim(self.points[0] - margin, self.points[-1] + margin)
        now = ", ".join(f"{name} {values[at]:.1f}" for name, values in curves.items())
        text = f"{title}: {self.ylabel} {now}."
        answers = one.answers[at] if one.answers else {}
        return View(figure, text, [{"prompt": p, "says": reply} for p, reply in answers.items()])
