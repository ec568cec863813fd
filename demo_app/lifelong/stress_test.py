"""The lifelong stress test: editors side by side on one stream of facts. No Gradio here.

What a test is and what is found; lifelong_run.py runs it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lib

from ..session.worker import Trouble

if TYPE_CHECKING:
    from ..session.studio import Studio

BEGIN = ("ultraedit", "grace")  # ticked when the page opens
EDITS, LINES, POINTS = 40, 5, 8  # at most; points are times of measuring
ALWAYS = ("retrieval", "ft")
FAST = ("retrieval", "ft", "ft_m", "grace", "ultraedit")
SLOW_EDITS = 15  # of a stream with an editor that is not fast among its lines
LEFT_OUT = ("wilke",)  # one of its edits holds the model for a minute


@dataclass(frozen=True)
class Point:
    """What a line is worth after `edits` edits. right: row -> whether its fact is still said."""

    edits: int
    right: dict[int, bool]
    specificity: float
    perplexity: float
    change: float  # ‖ΔW‖/‖W₀‖ of the matrix that changed most

    @property
    def retention(self) -> float:
        """Share of the facts so far that are still said; contradicted ones do not count."""
        return statistics.fmean(self.right.values()) if self.right else math.nan


@dataclass
class Line:
    """One editor on its way through the stream."""

    editor: str
    name: str
    patch: lib.Patch = lib.EMPTY
    edits: int = 0
    seconds: float = 0.0  # of its edits
    first: dict[int, bool] = field(default_factory=dict)  # right after a fact's own batch
    points: list[Point] = field(default_factory=list)
    error: str | None = None  # why it ended early

    def efficacy(self, edits: int) -> float:
        """Share of the first `edits` facts that were said right after their own batch."""
        values = [right for row, right in self.first.items() if row < edits]
        return statistics.fmean(values) if values else math.nan


@dataclass
class Test:
    """A stream of cases and the lines that run on it; grows while it runs."""

    __test__ = False  # no test of pytest's

    cases: list[lib.Case]
    batch: int
    lines: list[Line]
    source: str
    base: Point | None = None
    version: int = 0  # goes up with every point: there is something new to draw

    @property
    def ends(self) -> list[int]:
        """Numbers of edits at which a batch ends."""
        total = len(self.cases)
        return [*range(self.batch, total, self.batch), total]

    @property
    def points(self) -> list[int]:
        """Those of them at which everything is measured, about evenly spread; always the last."""
        ends = self.ends
        every = math.ceil(len(ends) / POINTS)
        return ends[::-1][::every][::-1]

    def collapse(self, line: Line) -> tuple[int, str] | None:
        """(edits, why) of the first point at which the model is no longer what it was."""
        for point in line.points:
            if not point.perplexity <= 2 * self.base.perplexity:
                return point.edits, "perplexity more than doubled"
            if point.specificity < self.base.specificity / 2:
                return point.edits, "fewer than half of the neighbors that were right still are"
        return None


def offered(studio: Studio) -> dict[str, str]:
    """{editor: how it is written} of those that may be chosen beside the two that always run."""
    return {
        key: f"{name} (fast)" if key in FAST else name
        for key, (name, _) in studio.editors().items()
        if key not in (*ALWAYS, *LEFT_OUT)
    }


def plan(
    studio: Studio, editors: Sequence[str], cases: Sequence[lib.Case], edits: Any, batch: Any,
    source: str = "classroom",
) -> Test:  # fmt: skip
    """The test that a form asks for, checked. Raises Trouble in one sentence."""
    known = studio.editors()
    chosen = list(dict.fromkeys((*ALWAYS, *(editors or ()))))
    for editor in chosen:
        if editor not in known or editor in LEFT_OUT:
            raise Trouble(f"The editor '{editor}' does not run in this test.")
    if len(chosen) > LINES:
        raise Trouble(f"{len(chosen)} editors are too many at once: this page takes {LINES}.")
    slow = [known[editor][0] for editor in chosen if editor not in FAST]
    most = SLOW_EDITS if slow else EDITS
    edits, batch = _whole("number of edits", edits), _whole("batch", batch)
    if edits > most:
        why = f" with {slow[0]} among the editors" if slow else ""
        raise Trouble(f"{edits} edits are too many{why}: at most {most}.")
    if batch > edits:
        raise Trouble(f"A batch of {batch} is larger than the stream of {edits} edits.")
    if not cases:
        raise Trouble("There is no fact to edit.")
    return Test(
        list(cases[:edits]), batch, [Line(e, known[e][0]) for e in chosen], source
    )  # fmt: skip


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 1:
        raise Trouble(f"The {name} should be a whole number from 1 on.")
    return int(value)
