"""A verdict: what became of one student's answer to one exercise.

`grade` runs one file in a sandbox and lets the exercise's own check ask it. `hand_in` reads all
files of one student, and `grade_files` grades them. `summary` adds the verdicts up for people and
for programs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lessons.grading.exercise_source import Exercise
from lessons.grading.files import Missing, text_of
from lessons.grading.sandbox import Sandbox
from lessons.grading.student_file import STUB
from lessons.marking import NotAttempted, Wrong, clean

# what a check raises that cannot work with what came back
UNUSABLE = (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True)
class Verdict:
    """The result of one exercise for one student.

    status is "solved", "wrong", "not attempted" or "missing"; message says why.
    """

    exercise: str
    name: str
    title: str
    stars: int
    status: str
    message: str
    printed: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return self.stars if self.status == "solved" else 0


def grade(exercise: Exercise, source: str, sandbox: Sandbox, seed: int = 0) -> Verdict:
    """One answer to one exercise, with inputs drawn from the seed."""
    start, printed = time.monotonic(), ""
    own = {
        "seconds": exercise.option("SECONDS"),
        "library": bool(exercise.option("LIB")),
        "largest": exercise.option("LARGEST"),
    }

    def check() -> str | None:
        nonlocal printed
        if exercise.open_in(source):
            raise NotAttempted
        with sandbox.open(source, f"{exercise.name}.py", **own) as student:
            try:
                return exercise.module.check(student.ask, torch.Generator().manual_seed(seed))
            finally:
                printed = student.printed

    status, message = judged(check)
    seconds = round(time.monotonic() - start, 3)
    head = exercise.number, exercise.name, exercise.title, exercise.stars
    return Verdict(*head, status, message, printed, seconds)


def judged(check: Callable[[], str | None]) -> tuple[str, str]:
    """The status and the message of a check, wherever it is run."""
    try:
        return "solved", check() or "solved."
    except NotAttempted:
        return STUB, f"{STUB}."
    except Wrong as error:
        return "wrong", str(error)
    except UNUSABLE as error:
        return "wrong", f"what came back cannot be used ({error})".split("\n")[0]


def hand_in(chosen: Sequence[Exercise], folder: Path) -> list[str | Verdict]:
    """The text of one student's file for each exercise, or a verdict where there is none to run.

    What is missing, a link, too large or no text is not run. Nothing is run here: read the hand-ins
    of all students before the first is graded, and none of them can change another.
    """
    found: list[str | Verdict] = []
    for exercise in chosen:
        head = exercise.number, exercise.name, exercise.title, exercise.stars
        try:
            found.append(text_of(folder / exercise.path.name))
        except ValueError as error:
            status = "missing" if isinstance(error, Missing) else "wrong"
            found.append(Verdict(*head, status, f"{clean(error)}."))
    return found


def grade_files(
    chosen: Sequence[Exercise], texts: Sequence[str | Verdict], sandbox: Sandbox, seed: int = 0
) -> list[Verdict]:
    """The verdicts on one student's files, as `hand_in` has read them."""
    return [
        text if isinstance(text, Verdict) else grade(exercise, text, sandbox, seed)
        for exercise, text in zip(chosen, texts, strict=True)
    ]


def summary(verdicts: Sequence[Verdict]) -> dict:
    """Verdicts as a JSON object."""
    return {
        "solved": sum(v.status == "solved" for v in verdicts),
        "exercises": len(verdicts),
        "points": sum(v.points for v in verdicts),
        "of": sum(v.stars for v in verdicts),
        "verdicts": [asdict(v) for v in verdicts],
    }
