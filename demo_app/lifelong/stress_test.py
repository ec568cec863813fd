"""How long until it breaks: editors side by side on one stream of facts, as a value.

It says what a test is and what was found so far; run.py runs it, and picture.py draws it.
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
from ..session import given
from ..session.choices import Choices
from ..session.worker import Trouble

# simple, and hard to beat: they always run
BASELINES = used("baseline")
BREAKS = "mend"  # stands in the stored example: what it wrote is gone after a few more edits
EDITS, POINTS, BATCH = 40, 8, 4  # at most, at most, facts that are written in one call
SLOW_EDITS = 24  # of a stream with an editor that is not fast, as many as in the stored example


@dataclass(frozen=True)
class Point:
    """What the model of a line is worth after some edits.

    right: {row: whether its fact is still said}, of the facts so far that none contradicts.
    neighbors: whether each neighbor is answered right.
    perplexity: of a held-out text.
    """

    edits: int
    right: dict[int, bool]
    neighbors: tuple[bool, ...]
    perplexity: float

    @property
    def retention(self) -> float:
        """Share of the facts so far that are still said; contradicted ones do not count."""
        return mean(self.right.values())

    @property
    def specificity(self) -> float:
        """Share of the neighbors that are answered right."""
        return mean(self.neighbors)


@dataclass
class Line:
    """One editor on its way through the stream.

    editor: its name in lib.EDITORS.
    name: its name as the page writes it.
    edits, seconds: how many facts it has written so far, and how long that took.
    error: why it ended early; None if it did not.
    """

    editor: str
    name: str
    edits: int = 0
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)
    error: str | None = None


@dataclass
class Test:
    """A stream of cases and the lines that run on it; it grows while it runs.

    cases: the facts of the stream, in order.
    batch: how many facts are written in one call.
    base: what was measured before any edit.
    """

    __test__ = False  # no test of pytest's

    cases: list[lib.Case]
    batch: int
    lines: list[Line]
    base: Point | None = None

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

    @property
    def measured(self) -> int:
        """After how many edits it was measured last, by any line; 0 before the first time."""
        return max((point.edits for line in self.lines for point in line.points), default=0)

    def collapse(self, line: Line) -> tuple[int, str] | None:
        """(edits, why) of the first point at which the model is no longer what it was."""
        for point in line.points:
            if not point.perplexity <= 2 * self.base.perplexity:
                return point.edits, "perplexity more than doubled"
            if point.specificity < self.base.specificity / 2:
                return point.edits, "fewer than half of the neighbors that were right still are"
        return None


def mean(right: Collection[bool]) -> float:
    """The share of what is right, from 0 to 1."""
    return statistics.fmean(right) if right else math.nan


def offered(choices: Choices) -> dict[str, str]:
    """{editor: how it is written} of those that may be chosen beside the two that always run."""
    return {
        name: f"{title}{' (fast)' * (choices.kind(name).speed == 'fast')}"
        for name, (title, _) in choices.editors.items()
        if name == BREAKS or "race" in ROLES.get(name, ())
    }


def mixed(choices: Choices) -> list[lib.Case]:
    """The classroom with its relations mixed; always in the same order."""
    cases = list(choices.cases.values())
    return random.Random(0).sample(cases, len(cases))


def plan(choices: Choices, editors: Sequence[str], cases: Sequence[lib.Case], edits: Any) -> Test:
    """The test that a form asks for, checked. Raises Trouble in one sentence."""
    known, possible = choices.editors, offered(choices)
    wanted = given.names("editors", editors)
    for editor in wanted:
        if editor not in possible:
            raise Trouble(f"The editor '{given.short(editor)}' does not run in this test.")
    slow = [known[editor][0] for editor in wanted if choices.kind(editor).speed != "fast"]
    most = SLOW_EDITS if slow else EDITS
    edits = given.whole("number of edits", edits)
    if not 1 <= edits <= most:
        why = f" with {slow[0]} among the editors" if slow else ""
        raise Trouble(f"{edits} edits cannot be made here{why}: 1 to {most} can.")
    chosen = dict.fromkeys((*BASELINES, *wanted))
    return Test(list(cases[:edits]), BATCH, [Line(name, known[name][0]) for name in chosen])
