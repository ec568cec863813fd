"""A verdict: the result for one student's answer to one exercise.

`grade` runs a file in a sandbox, where the exercise's check calls it. `hand_in` reads all files of
a student, and `grade_file` grades one of them, giving part of the points if only some functions of
the exercise are right. `summary` adds up verdicts.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lessons.grading import wire
from lessons.grading.exercise_source import LINE, UNREADABLE, Exercise
from lessons.grading.files import Missing, text_of
from lessons.grading.sandbox import Sandbox
from lessons.grading.slips import slip
from lessons.grading.student_file import ENDLESS, STUB, Student
from lessons.grading.trial import Trial
from lessons.marking import FACTOR, UNNAMED, NotAttempted, Stopped, Wrong, clean

# errors that a check raises if it cannot use the returned value
UNUSABLE = (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True)
class Verdict:
    """The result of one exercise for one student.

    status is "solved", "wrong", "not attempted" or "missing"; message gives the reason. `right`
    lists the functions that are right by themselves, in an exercise with `parts` functions.
    `others` are the messages on further functions that are not right.
    `stopped` means that the file did not answer: it broke off, or did something that is not
    allowed. `broke` lists the functions that ran when a limit was exceeded, and `unread` means that
    the grader could not read a hand-in: because of a wrong name, because it is not text, or because
    it is a link.
    """

    exercise: str
    name: str
    title: str
    stars: int
    status: str
    message: str
    printed: str = ""
    seconds: float = 0.0
    right: tuple[str, ...] = ()
    parts: int = 1
    others: tuple[str, ...] = ()
    stopped: bool = False
    broke: tuple[str, ...] = ()
    unread: bool = False

    @property
    def result(self) -> str:
        """The status in words."""
        return "partly solved" if self.right and self.status == "wrong" else self.status

    @property
    def tried(self) -> bool:
        """Return whether there was a readable answer."""
        return self.status in ("solved", "wrong") and not self.unread

    @property
    def points(self) -> float:
        """A point per star; for an exercise that is partly solved, the fraction of its parts."""
        if self.status == "solved":
            return self.stars
        return plain(self.stars * len(self.right) / self.parts)


def by_session(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """Verdicts by the number of their session."""
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.exercise.partition(".")[0], []).append(verdict)
    return found


def marked(verdicts: Sequence[Verdict]) -> bool:
    """Return whether the verdicts on a session give a mark."""
    return any(v.tried for v in verdicts) and not any(v.unread for v in verdicts)


def plain(points: float) -> float:
    """Points rounded to two decimals; whole numbers as integers."""
    return int(points) if points == int(points) else round(points, 2)


def passed(exercise: Exercise, asked: Student | Trial, ask: Callable, seed: int) -> str | None:
    """The message of the exercise's check; also Wrong if an argument was changed in place.

    If the check doesn't recognize a mistake, it is compared with the slips common to all exercises.
    """
    calls: list[tuple] = []

    def heard(function: str, *args: Any) -> Any:
        calls.append((function, args, found := ask(function, *args)))
        return found

    try:
        said = exercise.module.check(heard, torch.Generator().manual_seed(seed))
    except Wrong as error:
        if str(error).endswith((UNNAMED, FACTOR)) and (told := slip(exercise, calls)):
            raise Wrong(told) from None
        raise
    if asked.changed:
        raise Wrong(asked.changed)
    return said


def grade(
    exercise: Exercise, source: str, sandbox: Sandbox, seed: int = 0, only: str | None = None
) -> Verdict:
    """One answer to one exercise, with inputs drawn from the seed.

    With `only`, the name of a function, the solution replaces all other functions, even if the
    file calls them.
    """
    start, printed, broke = time.monotonic(), "", set[str]()

    def check() -> str | None:
        nonlocal printed, broke
        if exercise.open_in(source) if only is None else only in exercise.open_in(source):
            raise NotAttempted

        def ask(function: str, *args: Any) -> Any:
            if only is None or function == only or function not in exercise.blocks:
                return student.ask(function, *args)
            # The solution runs on the grader's side, where no student's file can see it.
            return wire.unpack(wire.pack(getattr(exercise.module, function)(*args)))

        with sandbox.open(
            source if only is None else with_others(exercise, source, only),
            f"{exercise.name}.py",
            seconds=exercise.option("SECONDS"),
            library=bool(exercise.option("LIB")),
            largest=exercise.option("LARGEST"),
        ) as student:
            try:
                return passed(exercise, student, ask, seed)
            finally:
                printed, broke = student.printed, student.broke

    status, message, stopped = judged(check)
    seconds = round(time.monotonic() - start, 3)
    head = exercise.number, exercise.name, exercise.title, exercise.stars
    found = Verdict(*head, status, message, printed, seconds, stopped=stopped)
    return replace(found, broke=tuple(sorted(broke & {*exercise.blocks})))


def with_others(exercise: Exercise, source: str, only: str) -> str:
    """A file in which the solution replaces all functions but one; its own lines stay in place.

    The file doesn't get the solution of the function that is judged.
    """
    try:
        ast.parse(source)
    except UNREADABLE:
        return source
    solution = exercise.with_bodies({only: LINE})
    others = [name for name in exercise.blocks if name != only]
    return f"""{source}
_others = {{}}
exec({solution!r}, _others)
_others[{only!r}] = globals().get({only!r})
globals().update({{name: _others[name] for name in {others!r}}})
"""


def in_parts(
    exercise: Exercise, source: str, verdict: Verdict, sandbox: Sandbox, seed: int = 0
) -> Verdict:
    """The verdict on a wrong answer, including its correct parts, and a message for each other.

    Each function is judged using the solution for the other functions. A function that ran when the
    whole file exceeded a limit is not right, even if it stays within the limit by itself. Anything
    after an endless loop is not checked.
    """
    tried = verdict.status in ("wrong", STUB) and source.strip() != exercise.stub.strip()
    if not tried or len(exercise.blocks) == 1:
        return verdict
    right, wrong, said = [], [], []
    for name in (one for one in exercise.blocks if one not in verdict.broke):
        one = grade(exercise, source, sandbox, seed, only=name)
        if one.message.endswith(ENDLESS):
            break  # the file may do so in every call, which takes seconds each
        if one.status == "solved":
            right.append(name)
        elif one.status == STUB:
            said.append(f"{name}: {STUB}.")
        else:
            named = one.stopped or name in one.message
            wrong.append(one if named else replace(one, message=f"{name}: {one.message}"))
    verdict = replace(verdict, right=tuple(right), parts=len(exercise.blocks))
    if not right and not wrong:
        return verdict
    first = verdict
    if wrong and not verdict.stopped:
        first = wrong[0]  # the message on the whole file may be about a function that calls it
    elif verdict.status == STUB:
        first = replace(verdict, message=said.pop(0))
    others = dict.fromkeys(one.message for one in wrong if one.message != first.message)
    return replace(
        verdict,
        status="wrong",
        message=first.message,
        others=(*others, *said),
        stopped=first.stopped,
    )


def missing(exercise: Exercise, message: str = "nothing was handed in.") -> Verdict:
    """The verdict on an exercise without a file."""
    head = exercise.number, exercise.name, exercise.title, exercise.stars
    return Verdict(*head, "missing", message)


def judged(check: Callable[[], str | None]) -> tuple[str, str, bool]:
    """The status and the message of a check, and the `stopped` of its `Verdict`."""
    try:
        return "solved", check() or "solved.", False
    except NotAttempted:
        return STUB, f"{STUB}.", False
    except Wrong as error:
        return "wrong", str(error), isinstance(error, Stopped)
    except UNUSABLE as error:
        return "wrong", f"the returned value cannot be used ({error})".split("\n")[0], False


def hand_in(chosen: Sequence[Exercise], folder: Path) -> list[str | Verdict]:
    """The text of one student's file for each exercise, or a verdict if there is none to run.

    Files that are missing, links, too large, or not text are not run. Read the hand-ins of all
    students before grading the first, so that no file can change another.
    """
    found: list[str | Verdict] = []
    for exercise in chosen:
        try:
            found.append(text_of(folder / exercise.path.name))
        except Missing as error:
            found.append(missing(exercise, f"{clean(error)}."))
        except ValueError as error:
            none = missing(exercise, f"{clean(error)}.")
            found.append(replace(none, status="wrong", unread=True))
    return found


def grade_file(exercise: Exercise, text: str | Verdict, sandbox: Sandbox, seed: int = 0) -> Verdict:
    """The verdict on one file, as read by `hand_in`, including its correct parts."""
    if isinstance(text, Verdict):
        return text
    return in_parts(exercise, text, grade(exercise, text, sandbox, seed), sandbox, seed)


def summary(verdicts: Sequence[Verdict]) -> dict:
    """Verdicts as a JSON object."""
    return {
        "solved": sum(v.status == "solved" for v in verdicts),
        "exercises": len(verdicts),
        "points": plain(sum(v.points for v in verdicts)),
        "of": sum(v.stars for v in verdicts),
        "verdicts": [asdict(v) for v in verdicts],
    }
