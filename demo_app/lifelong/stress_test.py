"""The lifelong stress test as a value: editors side by side on one stream of facts.

It says what a test is and what was found so far; run.py runs it, and figures.py draws it.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import lib

from ..session import given
from ..session.choices import BASELINES, Choices
from ..session.worker import Trouble

EDITS, LINES, POINTS = 40, 5, 8  # at most; points are times of measuring
SLOW_EDITS = 15  # of a stream with an editor that is not fast among its lines


@dataclass(frozen=True)
class Point:
    """What the model of a line is worth after some edits.

    edits: how many edits were made.
    right: {row: whether its fact is still said}, of the facts so far that none contradicts.
    neighbors: whether each neighbor is answered right.
    perplexity: of a held-out text.
    change: ‖ΔW‖/‖W₀‖ of the matrix that changed most.
    said: {row: what the model says to its prompt}, of the facts so far.
    """

    edits: int
    right: dict[int, bool]
    neighbors: tuple[bool, ...]
    perplexity: float
    change: float
    said: dict[int, str] = field(default_factory=dict)

    @property
    def retention(self) -> float:
        """Share of the facts so far that are still said; contradicted ones do not count."""
        return statistics.fmean(self.right.values()) if self.right else math.nan

    @property
    def specificity(self) -> float:
        """Share of the neighbors that are answered right."""
        return statistics.fmean(self.neighbors) if self.neighbors else math.nan


@dataclass
class Line:
    """One editor on its way through the stream.

    editor: its name in lib.EDITORS.
    name: its name as the page writes it.
    patch: its edits so far.
    edits: how many facts it has written.
    seconds: how long its edits took together.
    first: {row: whether the fact was said right after its own batch}.
    points: what was measured.
    error: why it ended early; None if it did not.
    """

    editor: str
    name: str
    patch: lib.Patch = lib.EMPTY
    edits: int = 0
    seconds: float = 0.0
    first: dict[int, bool] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    error: str | None = None

    def said_at_once(self, edits: int) -> list[bool]:
        """Whether each of the first `edits` facts was said right after its own batch."""
        return [right for row, right in self.first.items() if row < edits]

    def efficacy(self, edits: int) -> float:
        """Share of the first `edits` facts that were said right after their own batch."""
        values = self.said_at_once(edits)
        return statistics.fmean(values) if values else math.nan


@dataclass
class Test:
    """A stream of cases and the lines that run on it; it grows while it runs.

    cases: the facts of the stream, in order.
    batch: how many facts are written in one call.
    lines: the editors.
    source: where the facts come from, as the page says it.
    base: what was measured before any edit.
    version: goes up with every point, so that one sees when there is something new to draw.
    """

    __test__ = False  # no test of pytest's

    cases: list[lib.Case]
    batch: int
    lines: list[Line]
    source: str
    base: Point | None = None
    version: int = 0

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


def offered(choices: Choices) -> dict[str, str]:
    """{editor: how it is written} of those that may be chosen beside the two that always run.

    An editor that holds the model for a minute per edit is not offered.
    """
    return {
        key: f"{name} (fast)" if choices.kind(key).speed == "fast" else name
        for key, (name, _) in choices.editors().items()
        if key not in BASELINES and choices.kind(key).speed != "slow"
    }


def mixed(choices: Choices) -> list[lib.Case]:
    """The classroom with its relations mixed; always in the same order."""
    cases = list(choices.cases.values())
    return random.Random(0).sample(cases, len(cases))


def plan(
    choices: Choices,
    editors: Sequence[str],
    cases: Sequence[lib.Case],
    edits: Any,
    batch: Any,
    source: str = "classroom",
) -> Test:
    """The test that a form asks for, checked. Raises Trouble in one sentence."""
    known = choices.editors()
    chosen = list(dict.fromkeys((*BASELINES, *given.names("editors", editors))))
    for editor in chosen:
        if editor not in known or choices.kind(editor).speed == "slow":
            raise Trouble(f"The editor '{given.short(editor)}' does not run in this test.")
    if len(chosen) > LINES:
        raise Trouble(f"{len(chosen)} editors are too many at once: this page takes {LINES}.")
    slow = [known[editor][0] for editor in chosen if choices.kind(editor).speed != "fast"]
    most = SLOW_EDITS if slow else EDITS
    edits, batch = _whole("number of edits", edits), _whole("batch", batch)
    if edits > most:
        why = f" with {slow[0]} among the editors" if slow else ""
        raise Trouble(f"{edits} edits are too many{why}: at most {most}.")
    if batch > edits:
        raise Trouble(f"A batch of {batch} is larger than the stream of {edits} edits.")
    if not cases:
        raise Trouble("There is no fact to edit.")
    lines = [Line(editor, known[editor][0]) for editor in chosen]
    return Test(list(cases[:edits]), batch, lines, source)


def _whole(name: str, value: Any) -> int:
    """A number of a form as a whole one from 1 on; Trouble for anything else."""
    found = given.whole(name, value)
    if found < 1:
        raise Trouble(f"The {name} should be a whole number from 1 on.")
    return found
