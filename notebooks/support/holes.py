"""What a student puts into a page: a function into a hole, and a number as a guess.

`use` returns the student's function where it is right, the exercise's solution where not. A wrong
one that runs stands beside it: `both` gives the two to the figures of the page, which show what the
mistake does. The hole and the exercise of its number are one function with one check: what is written
on a page can be handed in, and what was handed in fills the page. `guess` keeps a prediction.
Nothing is sent.
"""

from __future__ import annotations

import ast
import dis
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lessons.grading.exercise_source import Exercise, exercises, is_empty
from lessons.grading.student_file import PRINTED, STUB
from lessons.grading.trial import Trial, alike
from lessons.grading.verdict import Verdict, judged, passed
from lessons.marking import NotAttempted
from lib.workbench.widgets import live
from notebooks.support.hand_ins import MY, HandIn

JUDGED: dict[tuple[str, str], str] = {}  # what is wrong with a function of the page, or nothing
GUESSED: dict[tuple[str, float, float], Guess] = {}  # every guess of this kernel, by its question


def use(number: str, function: Callable) -> Callable:
    """The function that the page goes on with, and one printed sentence that says whose it is.

    number    of the exercise in `lessons`: "2.1"
    function  as the page has it; while its body is `...`, the one in the student's file of this
              exercise is taken, where there is one

    It is the student's if the grader would find it right in the file, which is then written. Else
    it is the solution, and the sentence says that the hole is open, or what is wrong. A wrong one
    whose results have the form of the solution's comes along, as `Beside`. ValueError for a number
    or a function that no exercise has.
    """
    exercise, written = asked_for(number, function)
    name, file = function.__name__, HandIn(exercise, MY)
    on_page = not is_empty(ast.parse(written).body[0])
    text = file.having(function, written) if on_page else file.found
    status, said, trial = tried(exercise, text, name)
    rest = ""
    if status == "solved" and len(exercise.blocks) > 1:
        rest, broke = whole(exercise, text)
        if name in broke:  # alone it keeps to the limits, in the hand-in it does not
            status, said, trial, rest = "wrong", rest.strip(), None, ""
    JUDGED[number, name] = STUB if status == STUB or not on_page else said * (status != "solved")
    if trial is not None and trial.printed:
        print(trial.printed + " …" * (trial.log.size > PRINTED))
    which = f"{number} {name}" if len(exercise.blocks) > 1 else number
    if status == STUB:
        print(f"{which} is still open. The notebook continues with the solution.")
    elif status != "solved":
        if on_page:  # the line is one of a file that is not written
            said = re.sub(r" in line \d+,", " at", said)
        wrong = f"{ended(said.removeprefix(f'{name}: '))}{elsewhere(said, function)}"
        told = f"{which} ✗ {wrong} The notebook continues with the solution"
        solution = getattr(exercise.module, name)
        if trial is not None and trial.asked and trial.like(exercise.module):
            tell(f"{told} and shows your version next to it in the figures.")
            return Beside(solution, function if on_page else getattr(trial.module, name))
        tell(f"{told}.")
    else:
        place = file.keep(text, name) if on_page else f"It is read from {file.name}."
        # the check's own sentence is about all functions, of which some may be the solution's here
        done = f"{which} ✓ Right by itself." if rest else f"{number} ✓ {ended(said)}"
        tell(f"{done} The notebook continues with your {name}. {place}{rest}")
        return function if on_page else getattr(trial.module, name)
    return getattr(exercise.module, name)


def tell(said: str) -> None:
    """Print it in lines that a page shows whole: JupyterLab breaks longer ones inside of words."""
    lines = textwrap.TextWrapper(100, break_long_words=False, break_on_hyphens=False)
    print("\n".join(map(lines.fill, said.splitlines())))


def graded(number: str, name: str) -> None:
    """Raise an AssertionError unless a function that was written on this page is right."""
    said = JUDGED.get((number, name), STUB)
    assert not said, f"{number} {name}: {said}"


class Beside:
    """The solution of an exercise, and a student's function that runs and is not right.

    Called it is the solution. `yours` may still fail, or give something of another form, with
    inputs that the exercise does not draw: then it gives NaN in the form of the solution's result.
    """

    def __init__(self, solution: Callable, mine: Callable) -> None:
        self.solution, self.mine = solution, mine
        self.__name__, self.__wrapped__ = solution.__name__, solution

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.solution(*args, **named)

    def yours(self, *args: Any, **named: Any) -> Any:
        """What the student's function returns."""
        wanted = self.solution(*args, **named)
        try:
            found = self.mine(*args, **named)
        except Exception as error:
            print(f"Your {self.__name__} ended with {type(error).__name__}: {error}")
            return unknown(wanted)
        return found if alike(found, wanted) else unknown(wanted)


def both(function: Callable) -> dict[str, Callable]:
    """{whose: function} for a figure: one, or a wrong one beside the solution."""
    if isinstance(function, Beside):
        return {"the solution": function.solution, "yours": function.yours}
    ours = (getattr(function, "__module__", None) or "").startswith("lessons.")
    return {"the solution" if ours else "yours": function}


def unknown(wanted: Any) -> Any:
    """NaN in the form of a result."""
    if isinstance(wanted, torch.Tensor):
        return torch.full_like(wanted, torch.nan) if wanted.is_floating_point() else wanted
    if isinstance(wanted, Mapping):
        return {key: unknown(value) for key, value in wanted.items()}
    if isinstance(wanted, list | tuple):
        return type(wanted)(map(unknown, wanted))
    return float("nan") if isinstance(wanted, float) else wanted


def asked_for(number: str, function: Callable) -> tuple[Exercise, str]:
    """The exercise of this number, and the text of the function, also of one in a cell."""
    exercise = exercises(str(number))[0]
    if exercise.number != number:
        raise ValueError(f"an exercise has a number such as {exercise.number!r}, not {number!r}")
    if (name := getattr(function, "__name__", repr(function))) not in exercise.blocks:
        wanted = " and ".join(exercise.blocks)
        raise ValueError(f"exercise {number} is about {wanted}, written with def, not about {name}")
    try:
        written = textwrap.dedent(inspect.getsource(function))
        ast.parse(written)
    except (OSError, TypeError, SyntaxError):
        said = f"{name} has no text that could be handed in: write it in a cell, in plain Python"
        raise ValueError(said) from None
    return exercise, written


def tried(
    exercise: Exercise, text: str | Verdict, only: str | None = None
) -> tuple[str, str, Trial | None]:
    """The grader's status and message of a text, tried here, and the trial; `only` as in `Trial`."""
    trial: Trial | None = None
    if isinstance(text, Verdict):
        return STUB if text.status == "missing" else text.status, text.message, None

    def check() -> str | None:
        nonlocal trial
        if set(exercise.open_in(text)) & set([only] if only else exercise.blocks):
            raise NotAttempted
        trial = Trial(exercise, text, only)
        return passed(exercise, trial, trial.ask, 0)

    try:
        return *judged(check)[:2], trial
    except KeyboardInterrupt:
        return "wrong", "it was interrupted", trial


def whole(exercise: Exercise, text: str) -> tuple[str, set[str]]:
    """What a hand-in still lacks where one function is right, and which of them broke a limit."""
    status, said, trial = tried(exercise, text)
    if status == STUB:
        return " Another function of this exercise is not in the file yet.", set()
    broke = trial.broke if trial else set[str]()
    lacks = f" The file as a whole is not right yet: {ended(said)}"
    return "" if status == "solved" else lacks, broke


def elsewhere(said: str, function: Callable) -> str:
    """A sentence for a name that the page knows and a hand-in does not."""
    name = re.search(r"name '(\w+)' is not defined", said)
    if name is None or name[1] not in inspect.unwrap(function).__globals__:
        return ""
    return f" A hand-in has no other cells, so define {name[1]} inside {function.__name__}."


def ended(said: str) -> str:
    """A sentence with its full stop."""
    return said if said.endswith((".", "?", "!")) else f"{said}."


class Guess:
    """A prediction, None until it is typed; what is not from `low` to `high` is a ValueError."""

    def __init__(self, question: str, low: float, high: float) -> None:
        self.question, self.low, self.high = question, low, high
        self._number: float | None = None

    @property
    def number(self) -> float | None:
        return self._number

    @number.setter
    def number(self, typed: float | str) -> None:
        try:
            found = float(str(typed).strip().replace(",", "."))
        except ValueError:
            found = float("nan")
        if not self.low <= found <= self.high:
            raise ValueError(f"A guess is a number from {self.low} to {self.high}, not {typed!r}.")
        self._number = found

    def against(self, found: float) -> None:
        """Print the guess beside what was found, both with three digits."""
        mine = "no guess was typed" if self._number is None else f"your guess {self._number:.3g}"
        print(f"{self.question} {mine[0].upper()}{mine[1:]}, found {found:.3g}.")


def guess(question: str, low: float, high: float) -> Guess:
    """Ask for a number from `low` to `high`, and return what keeps it.

    Where widgets work a field is drawn. Elsewhere a printed line says how to assign the number, by
    the name that the page gives to what is returned: `mine = guess(…)`, then `mine.number = 12`.
    A question that is asked again, as its cell is run again, still has the number typed before.
    """
    kept = GUESSED.setdefault((question, low, high), Guess(question, low, high))
    typed = "" if kept.number is None else f"{kept.number:.12g}"
    if not live():
        page = sys._getframe(1)  # its step after this call is the assignment to that name
        step = next(at for at in dis.get_instructions(page.f_code) if at.offset > page.f_lasti)
        name = step.argval if step.opname in ("STORE_NAME", "STORE_FAST") else "…"
        how = f"type it in below, as `{name}.number = …`." + f" Now it is {typed}." * bool(typed)
        print(f"{question} A number from {low} to {high}: {how}")
        return kept
    import ipywidgets
    from IPython.display import display

    field = ipywidgets.Text(typed, placeholder=f"{low} to {high}", continuous_update=False)
    said = ipywidgets.Label("Saved earlier." if typed else "")

    def take(change: dict) -> None:
        try:
            kept.number = change["new"]
            said.value = "Saved. The result appears in a later cell."
        except ValueError as error:
            said.value = str(error)

    field.observe(take, names="value")
    display(ipywidgets.VBox([ipywidgets.Label(question), ipywidgets.HBox([field, said])]))
    return kept
