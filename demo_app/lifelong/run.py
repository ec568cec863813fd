"""Runs the stress test: every line is a fold, patch = editor.edit(batch, after=patch).

Between two steps (writing a batch, testing ten facts, testing the neighbors), other visitors can
use the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import lib
from lib.data.texts import HELD_OUT
from lib.lifelong.sample import contradicted

from ..session.verdicts import about
from ..session.worker import Job, Trouble
from .stress_test import Line, Point, Test

TOGETHER = 10  # facts tested in one step
PROBES = 16  # neighbors tested at every point, always the same
LONG = 600  # maximum length of a neighbor, in characters
TEXT = 1200  # characters of held-out text for the perplexity


class Run:
    """A test in progress, as part of a job.

    patches: {editor: its edits so far}.
    done, total: the number of finished steps, and of all steps if no line ends early.
    """

    def __init__(self, job: Job, lm: lib.LM, test: Test) -> None:
        self.job, self.lm, self.test = job, lm, test
        self.probes, self.patches = _probes(test.cases), dict[str, lib.Patch]()
        each = len(test.ends) + sum(1 + math.ceil(end / TOGETHER) for end in test.points)
        self.done, self.total = 0, 1 + len(test.lines) * each

    def step(self, words: str, passes: int) -> AbstractContextManager[Any]:
        """Move the job's bar through one step while the body runs."""
        begin, self.done = self.done, self.done + 1
        share = begin / self.total, min(self.done / self.total, 1.0)
        return self.job.counting(self.lm, words, passes, *share)

    def line(self, line: Line, first: int, end: int) -> Generator[None, None, None]:
        """Write and test one batch of a line, measuring if it ends at a measurement point."""
        cases = self.test.cases
        with self.step(f"{line.name} is writing edits {first + 1} to {end}", 30):
            began = time.perf_counter()
            facts = [case.fact for case in cases[first:end]]
            before = self.patches.get(line.editor, lib.EMPTY)
            writer = lib.EDITORS[line.editor](self.lm, preset="ours")
            patch = writer.edit(facts, after=before, check=False)
            line.seconds += time.perf_counter() - began
        self.patches[line.editor], line.edits = patch, end
        yield
        if end not in self.test.points:
            return
        numbered, right = [lib.Case(case.fact, id=i) for i, case in enumerate(cases[:end])], {}
        for start in range(0, end, TOGETHER):
            with self.step(f"{line.name}: testing {end} facts again", 8):
                right |= self.said(patch, numbered[start : start + TOGETHER])
            yield
        gone = contradicted(cases[:end])
        kept = {row: good for row, good in right.items() if row not in gone}
        line.points.append(Point(end, kept, *self.probed(patch, f"{line.name}: neighbors")))
        yield

    def said(self, patch: lib.Patch, cases: Sequence[lib.Case]) -> dict[int, bool]:
        """{number of a case: whether the model generates its new answer}."""
        found = lib.evaluate(self.lm, cases, patch, metrics=(), events=("generation",)).rows
        found = found[found["event"] == "generation"]
        return {int(row): bool(v) for row, v in zip(found["case"], found["value"], strict=True)}

    def probed(self, patch: lib.Patch, words: str) -> tuple[tuple[bool, ...], float]:
        """(whether each neighbor is right, perplexity) under a patch."""
        with self.step(words, 10):
            right = tuple(self.said(patch, self.probes).values()) if self.probes else ()
            with self.lm.patched(patch, only=True):
                perplexity = lib.perplexity(self.lm, HELD_OUT.read_text(encoding="utf-8")[:TEXT])
        return right, perplexity


def run(job: Job, lm: lib.LM, test: Test) -> Generator[None, None, Test]:
    """Run the test; finished work stays in `test`, the job's partial result."""
    under_way = Run(job, lm, test)
    test.base = Point(0, {}, *under_way.probed(lib.EMPTY, "The unedited model"))
    yield
    for first, end in zip([0, *test.ends], test.ends, strict=False):
        for line in test.lines:
            if line.error is None:
                try:
                    yield from under_way.line(line, first, end)
                except (ValueError, Trouble) as error:
                    line.error = str(error)  # this editor cannot continue, but the others can
            job.report(under_way.done / under_way.total, "Continuing", partial=replace(test))
    return test


def _probes(cases: Sequence[lib.Case]) -> list[lib.Case]:
    """One neighbor of each of the first cases that have any, as a fact that should stay.

    Leaves out neighbors about a subject that the sequence itself edits, or too long to display.
    """
    facts, found = [case.fact for case in cases], {}
    for case in cases:
        free = [p for p in case.neighborhood if len(p.prompt) < LONG and not about(p.prompt, facts)]
        for probe in free[:1]:
            found.setdefault(probe.prompt, lib.Fact(None, probe.prompt, probe.target))
    return [lib.Case(fact, id=i) for i, fact in enumerate(list(found.values())[:PROBES])]
