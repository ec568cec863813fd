"""Runs the stress test: every line is a fold, patch = editor.edit(batch, after=patch).

Each batch that is written, each ten facts that are asked and each reading of the probes is a job of
its own, so that other visitors are served between them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from typing import Any

import lib
from lib.data.texts import HELD_OUT
from lib.interpret import damage
from lib.lifelong.sample import contradicted

from ..session.long_run import LongRun, ticking
from ..session.worker import Job, Progress, Stopped, Trouble
from .stress_test import Line, Point, Test

TOGETHER = 10  # facts asked in one job
PROBES = 16  # neighbors asked at every point, the same ones each time
LONG = 600  # characters of a neighbor
TEXT = 1200  # characters of held-out text for the perplexity
ASK = {"events": ("generation",)}


def run(long_run: LongRun, test: Test) -> Generator[Progress, None, None]:
    """Run the test, job by job; what is done stays in `test`, also when it is stopped.

    A test that was stopped goes on behind the last batch that each line has whole.
    """
    total, done = _cost(test), 0
    probes = _probes(test.cases)

    def told(progress: Progress, end: int) -> Progress:
        share = (done + progress.share * (end - done)) / total
        return Progress(share, progress.words)

    def step(work: Any, weight: int) -> Generator[Progress, None, Any]:
        nonlocal done
        for progress in (jobs := _Returned(long_run.do(work))):
            yield told(progress, done + weight)
        done += weight
        return jobs.value

    lm = long_run.studio.lm
    if test.base is None:
        found = yield from step(_probed(lm, lib.EMPTY, probes, "The model as it is"), 1)
        test.base = Point(0, {}, *found)
        test.version += 1
    for first, end in zip([0, *test.ends], test.ends, strict=False):
        measured = end in test.points
        for line in test.lines:
            if line.error or line.edits >= end:
                done += _jobs(test, first, end)
                continue
            try:
                patch, seconds = yield from step(_edited(lm, line, test.cases[first:end], end), 1)
                rows = list(range(0 if measured else first, end))
                said: dict[int, tuple[bool, str]] = {}
                for start in range(0, len(rows), TOGETHER):
                    some = rows[start : start + TOGETHER]
                    said |= yield from step(_asked(lm, line, patch, test.cases, some), 1)
                if measured:
                    words = f"{line.name}: neighbors and text after {end} edits"
                    found = yield from step(_probed(lm, patch, probes, words), 1)
            except Stopped:
                raise
            except Trouble as error:  # this editor cannot go on; the others can
                line.error = str(error)
                test.version += 1
                continue
            # all of a batch at once: a test that is stopped before goes on with this batch
            line.patch, line.edits, line.seconds = patch, end, line.seconds + seconds
            line.first |= {row: said[row][0] for row in range(first, end)}
            if measured:
                gone = contradicted(test.cases[:end])
                kept = {row: right for row, (right, _) in said.items() if row not in gone}
                texts = {row: text for row, (_, text) in said.items()}
                line.points.append(Point(end, kept, *found, said=texts))
            test.version += 1


class _Returned:
    """An iterator over a generator; after its end `value` is what the generator returned."""

    def __init__(self, steps: Generator[Progress, None, Any]) -> None:
        self.steps, self.value = steps, None

    def __iter__(self) -> Generator[Progress, None, None]:
        self.value = yield from self.steps


def _cost(test: Test) -> int:
    """Number of jobs, as far as no line ends early."""
    batches = zip([0, *test.ends], test.ends, strict=False)
    return 1 + sum(_jobs(test, first, end) * len(test.lines) for first, end in batches)


def _jobs(test: Test, first: int, end: int) -> int:
    """Number of jobs of one line for the facts from `first` to `end`."""
    asked = end if end in test.points else end - first
    return 1 + math.ceil(asked / TOGETHER) + (end in test.points)


def _edited(lm: lib.LM, line: Line, cases: Sequence[lib.Case], end: int) -> Any:
    facts = [case.fact for case in cases]

    def work(job: Job) -> tuple[lib.Patch, float]:
        words = f"{line.name} is writing edits {end - len(facts) + 1} to {end}"
        began = time.perf_counter()
        with ticking(job, lm, words, 30):
            patch = lib.EDITORS[line.editor](lm).edit(facts, after=line.patch)
        return patch, time.perf_counter() - began

    return work


def _asked(
    lm: lib.LM, line: Line, patch: lib.Patch, cases: Sequence[lib.Case], rows: Sequence[int]
) -> Any:
    """{row: (whether the model says the new answer by itself, what it says)} of some facts."""
    some = [lib.Case(cases[row].fact, id=row) for row in rows]

    def work(job: Job) -> dict[int, tuple[bool, str]]:
        words = f"{line.name}: asking facts {rows[0] + 1} to {rows[-1] + 1} again"
        with ticking(job, lm, words, 8):
            found = lib.evaluate(lm, some, patch, metrics=(), **ASK).rows
        found = found[found["event"] == "generation"]
        each = zip(found["case"], found["value"], found["text"], strict=True)
        return {int(row): (bool(value), str(text)) for row, value, text in each}

    return work


def _probed(lm: lib.LM, patch: lib.Patch, probes: Sequence[lib.Case], words: str) -> Any:
    """(whether each neighbor is right, perplexity, change) of a patch."""
    text = HELD_OUT.read_text(encoding="utf-8")[:TEXT]

    def work(job: Job) -> tuple[tuple[bool, ...], float, float]:
        right = ()
        with ticking(job, lm, words, 10):
            if probes:
                found = lib.evaluate(lm, probes, patch, metrics=(), **ASK).rows
                right = tuple(found.loc[found["event"] == "generation", "value"].astype(bool))
            with lm.patched(patch, only=True):
                perplexity = lib.perplexity(lm, text)
        return right, perplexity, _changed(lm, patch)

    return work


def _probes(cases: Sequence[lib.Case]) -> list[lib.Case]:
    """One neighbor of each of the first cases that have one, as a fact that should stay.

    None that the stream itself writes, and none too long for a page.
    """
    written = {case.fact.text for case in cases}
    found = {}
    for case in cases:
        free = [p for p in case.neighborhood if p.prompt not in written and len(p.prompt) < LONG]
        for probe in free[:1]:
            found.setdefault(probe.prompt, lib.Fact(None, probe.prompt, probe.target))
    return [lib.Case(fact, id=i) for i, fact in enumerate(list(found.values())[:PROBES])]


def _changed(lm: lib.LM, patch: lib.Patch) -> float:
    """‖ΔW‖/‖W₀‖ of the matrix that changed most, 0 where no weight was touched."""
    if not patch.weights:
        return 0.0
    moved = damage.steps(lm, [patch]).iloc[0]
    return max(size / lm.weight(name).norm().item() for name, size in moved.items())
