"""The stress test, comparing editors on one sequence of facts until they break.

This module defines a test and its results so far; run.py runs it and picture.py draws it.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import lib

from ..editor_roles import ROLES, used
from ..session import checks
from ..session.choices import Choices
from ..session.worker import Trouble

# simple methods that are hard to beat; they always run
BASELINES = used("baseline")
BREAKS = "mend"  # used in the stored example: its edits are lost after a few more
EDITS, POINTS, BATCH = 40, 8, 4  # maximum edits, maximum points, facts written in one call
SLOW_EDITS = 24  # maximum edits with an editor that is not fast, as many as in the stored example


@dataclass(frozen=True)
class Point:
    """Measurements of a line's model after some edits.

    right: {row: whether its fact still holds}, for the facts so far that no other fact contradicts.
    neighbors: whether each neighbor is answered correctly.
    perplexity: on a held-out text.
    """

    edits: int
    right: dict[int, bool]
    neighbors: tuple[bool, ...]
    perplexity: float

    @property
    def retention(self) -> float:
        """The fraction of the facts so far that still hold, ignoring contradicted ones."""
        return mean(self.right.values())

    @property
    def specificity(self) -> float:
        """The fraction of neighbors answered correctly."""
        return mean(self.neighbors)


@dataclass
class Line:
    """One editor's progress through the sequence.

    editor: its name in lib.EDITORS.
    name: its name on the page.
    edits, seconds: the number of facts written so far, and the time it took.
    error: the reason it ended early, or None.
    """

    editor: str
    name: str
    edits: int = 0
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)
    error: str | None = None


@dataclass
class Test:
    """A sequence of cases and the lines that run on it; it grows as it runs.

    cases: the facts in the sequence, in order.
    batch: the number of facts written in one call.
    base: the measurements before any edit.
    """

    __test__ = False  # not a pytest test

    cases: list[lib.Case]
    batch: int
    lines: list[Line]
    base: Point | None = None

    @property
    def ends(self) -> list[int]:
        """The numbers of edits after which a batch ends."""
        total = len(self.cases)
        return [*range(self.batch, total, self.batch), total]

    @property
    def points(self) -> list[int]:
        """The ends with a full measurement, roughly evenly spaced and including the last."""
        ends = self.ends
        every = math.ceil(len(ends) / POINTS)
        return ends[::-1][::every][::-1]

    @property
    def measured(self) -> int:
        """The number of edits at the latest measurement on any line, or 0 before the first."""
        return max((point.edits for line in self.lines for point in line.points), default=0)

    def collapse(self, line: Line) -> tuple[int, str] | None:
        """(edits, reason) for the first point where the model has broken."""
        for point in line.points:
            if not point.perplexity <= 2 * self.base.perplexity:
                return point.edits, "perplexity more than doubled"
            if point.specificity < self.base.specificity / 2:
                return point.edits, "fewer than half of the neighbors that were right still are"
        return None


def mean(right: Collection[bool]) -> float:
    """The fraction that is right, from 0 to 1."""
    return statistics.fmean(right) if right else math.nan


def offered(choices: Choices) -> dict[str, str]:
    """{editor: title} of the editors that can be added to the two that always run."""
    return {
        name: f"{title}{' (fast)' * (choices.editor_class(name).speed == 'fast')}"
        for name, (title, _) in choices.editors.items()
        if name == BREAKS or "race" in ROLES.get(name, ())
    }


def mixed(choices: Choices) -> list[lib.Case]:
    """The built-in facts with their relations mixed, always in the same order."""
    cases = list(choices.cases.values())
    return random.Random(0).sample(cases, len(cases))


def plan(choices: Choices, editors: Sequence[str], cases: Sequence[lib.Case], edits: Any) -> Test:
    """The test requested in a form, validated. Raises Trouble with one sentence."""
    known, possible = choices.editors, offered(choices)
    wanted = checks.names("editors", editors)
    for editor in wanted:
        if editor not in possible:
            raise Trouble(f"The editor '{checks.short(editor)}' is not available in this test.")
    slow = [known[editor][0] for editor in wanted if choices.editor_class(editor).speed != "fast"]
    most = SLOW_EDITS if slow else EDITS
    edits = checks.whole("number of edits", edits)
    if not 1 <= edits <= most:
        why = f" with {slow[0]}, which is not fast," if slow else ""
        raise Trouble(f"{edits} edits are not possible here{why}. Choose 1 to {most}.")
    chosen = dict.fromkeys((*BASELINES, *wanted))
    return Test(list(cases[:edits]), BATCH, [Line(name, known[name][0]) for name in chosen])
