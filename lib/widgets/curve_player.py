"""`CurvePlayer` plays a lifelong run: curves and answers up to a chosen number of edits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import traitlets

from .. import plot
from ..lifelong.run import Run
from ..plot.points import MARKERS
from ..plot.style import legend
from .panel import Control, Panel, View, one_of

METRICS = {  # the metrics that are played, and their names here
    "retention": "held",
    "generalization": "reworded",
    "specificity": "neighbors",
    "locality": "unrelated",
}
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

    def __post_init__(self) -> None:
        sizes = {name: len(values) for name, values in self.curves.items()}
        sizes |= {"answers": len(self.answers)} if self.answers else {}
        for name, size in sizes.items():
            if size != len(self.edits):
                raise ValueError(f"'{name}' has {size} values for {len(self.edits)} points")
        if not self.edits or not self.curves:
            raise ValueError("a run to play needs at least one point and one curve")

    @classmethod
    def of(cls, run: Run, event: str = "generation", prompts: int = 6) -> Played:
        """The curves of a `stream`'s run in %, and the texts generated at a few of its prompts.

        The answers are those at the first facts' own prompts and at one prompt of each other
        metric, as far as `event` generates text. Raises ValueError for a run without a point.
        """
        points = [point for point in sorted(run.scores) if point]
        if not points:
            raise ValueError("the run has measured nothing yet after its first edit")
        every = [run.scores[point].json() for point in points]
        curves = {
            name: [_share(scores.get(metric, {}).get(event)) for scores in every]
            for metric, name in METRICS.items()
        }
        curves = {name: v for name, v in curves.items() if not all(map(math.isnan, v))}
        return cls(points, curves, [_answers(run, point, event, prompts) for point in points])


class CurvePlayer(Panel):
    """A panel that moves over the edits of a lifelong run, whose curves grow with them.

    The table shows the model's answers at the present number of edits.

    played  A `Played`, a `Run`, or {name: either of them} for several to choose from.
    edits   The number of edits at the beginning, by default the last one.
    line    The run at the beginning, by default the first.
    """

    LABELS = {"line": "Run", "edits": "Edits so far"}
    line = traitlets.Unicode()
    edits = traitlets.Int()

    def __init__(
        self,
        played: Played | Run | Mapping[str, Played | Run],
        edits: int | None = None,
        line: str | None = None,
        *,
        ylabel: str = "right (%)",
        limits: tuple[float, float] = (0, 104),
        colors: Mapping[str, str] | None = None,
    ) -> None:
        given = dict(played) if isinstance(played, Mapping) else {"run": played}
        if not given:
            raise ValueError("there is no run to play")
        self.runs = {n: Played.of(one) if isinstance(one, Run) else one for n, one in given.items()}
        self.ylabel, self.limits, self.colors = ylabel, limits, {**COLORS, **(colors or {})}
        points = {tuple(one.edits) for one in self.runs.values()}
        if len(points) > 1:
            raise ValueError("runs that are played together need the same numbers of edits")
        self.points = list(points.pop())
        super().__init__(
            line=line or next(iter(self.runs)), edits=self.points[-1] if edits is None else edits
        )

    @traitlets.validate("line")
    def _known(self, proposal: Any) -> str:
        return one_of(proposal["value"], list(self.runs), "the run")

    @traitlets.validate("edits")
    def _there(self, proposal: Any) -> int:
        return one_of(proposal["value"], self.points, "the number of edits")

    def controls(self) -> dict[str, Control]:
        """A list of runs, and a slider over the points at which they were measured."""
        slider = {"options": self.points, "continuous_update": False}
        return {
            "line": ("Dropdown", {"options": list(self.runs)}),
            "edits": ("SelectionSlider", slider),
        }

    def look(self) -> View:
        """The curves up to the present point on the axes of the whole run, and its answers."""
        one, at = self.runs[self.line], self.points.index(self.edits)
        curves = {
            name: [y if i <= at else math.nan for i, y in enumerate(map(float, values))]
            for name, values in one.curves.items()
        }
        title = f"{self.line}, {self.edits} edits" if len(self.runs) > 1 else f"{self.edits} edits"
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
        for i, line in enumerate(ax.lines):
            over = len(curves) - 1 - i
            line.set(marker=MARKERS[i % len(MARKERS)], markersize=5 + 1.8 * over)
            line.set_linewidth(1.6 + 0.9 * over)
        legend(figure, ax)  # beside a curve's end its name would hide where the curve goes next
        if len(self.points) <= 12:
            ax.set_xticks(self.points)
        margin = 0.02 * max(self.points[-1] - self.points[0], 1)
        ax.set_xlim(self.points[0] - margin, self.points[-1] + margin)
        now = ", ".join(f"{name} {values[at]:.1f}" for name, values in curves.items())
        text = f"{title}: {self.ylabel} {now}."
        said = one.answers[at] if one.answers else {}
        return View(figure, text, [{"prompt": p, "says": text} for p, text in said.items()])


def _share(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def _answers(run: Run, point: int, event: str, count: int) -> dict[str, str]:
    """{prompt: text} at a point: a few facts' own prompts, then one prompt of each other metric."""
    rows = run.scores[point].rows
    rows = rows[(rows["event"] == event) & rows["text"].notna()]
    own = rows[rows["metric"] == "retention"].head(max(1, count // 2))
    rest = rows[rows["metric"].isin([m for m in METRICS if m != "retention"])]
    rest = rest.groupby("metric", sort=False).head(1)
    said = {row.prompt: row.text for part in (own, rest) for row in part.itertuples()}
    return dict(list(said.items())[:count])
