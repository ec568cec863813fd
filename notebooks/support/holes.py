"""What a student puts into a page: a function into a hole, and a number as a guess.

`use` returns the student's function where it is right, the exercise's solution where not. The hole
and the exercise of its number are one function with one check: what is written on a page can be
handed in, and what was handed in fills the page. `guess` keeps a prediction. Nothing is sent.
"""

from __future__ import annotations

import ast
import dis
import inspect
import os
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch

from lessons.grading.exercise_source import Exercise, exercises
from lessons.grading.student_file import STUB
from lessons.marking import NotAttempted, Wrong
from lib.widgets import live

MY = Path(os.environ.get("MY_EXERCISES") or Path(__file__).parents[2] / "my")


def use(number: str, function: Callable) -> Callable:
    """The function that the page goes on with, and one printed sentence that says whose it is.

    number    of the exercise in `lessons`: "2.1"
    function  as the page has it; while its body is `...`, the one in the student's file of this
              exercise is taken, where there is one

    It is the student's if the exercise's check finds it right; then it also stands in that file.
    Else it is the solution, and the sentence says that the hole is open, or what is wrong.
    """
    exercise = exercises(number)[0]
    name, solution = function.__name__, getattr(exercise.module, function.__name__)
    file = MY / exercise.path.name
    written = source(function)
    try:
        mine = handed_in(file, name) if is_open(written) else function
        if mine is None:
            raise NotAttempted
        said = exercise.module.check(
            partial(asked, mine, exercise), torch.Generator().manual_seed(0)
        )
    except NotAttempted:
        print(f"{number} is still open: the page goes on with the solution.")
        return solution
    except Wrong as error:
        print(f"{number} ✗ {error} The page goes on with the solution.")
        return solution
    except Exception as error:  # whatever a student's code does
        lines = (f" at “{at.line}”" for at in extract_tb(error.__traceback__) if at.name == name)
        print(f"{number} ✗ {type(error).__name__}", *lines,
              f": {error}. The page goes on with the solution.", sep="")  # fmt: skip
        return solution
    if mine is function:
        keep(exercise, file, name, written)
    print(f"{number} ✓ {said} The page goes on with your {name}.")
    return mine


def asked(mine: Callable, exercise: Exercise, name: str, *given: Any) -> Any:
    """What the check's `ask` returns; other functions of the exercise are the solution's."""
    function = mine if name == mine.__name__ else getattr(exercise.module, name)
    found = function(*[partial(called, one) if callable(one) else one for one in given])
    if isinstance(found, str) and found.strip().lower() == STUB:
        raise NotAttempted
    return as_sent(found)


def as_sent(found: Any) -> Any:
    """A result as the grader's process sends it, with lists for tuples: a check sees the same."""
    if isinstance(found, list | tuple):
        return [as_sent(one) for one in found]
    return {key: as_sent(one) for key, one in found.items()} if isinstance(found, dict) else found


def called(function: Callable, *given: Any) -> Any:
    """What a check's own function returns to a student's; it gets lists for tuples as well."""
    return function(*map(as_sent, given))


def source(function: Callable) -> str:
    """The text of a function, also of one in a cell."""
    return textwrap.dedent(inspect.getsource(function))


def is_open(text: str) -> bool:
    """Whether a function has nothing but a docstring and `...`."""
    body = ast.parse(text).body[0].body  # type: ignore[attr-defined]
    if ast.get_docstring(ast.parse(text).body[0]) is not None:  # type: ignore[arg-type]
        body = body[1:]
    return all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in body)


def handed_in(file: Path, name: str) -> Callable | None:
    """A function of a student's file, None where there is no file or no such function."""
    if not file.is_file():
        return None
    found: dict[str, Any] = {"__name__": file.stem}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), found)
    return found.get(name)


def keep(exercise: Exercise, file: Path, name: str, written: str) -> None:
    """Put a function that is right into the student's file, in the place of the one there."""
    text = file.read_text(encoding="utf-8") if file.is_file() else exercise.stub
    for part in ast.parse(text).body:
        if isinstance(part, ast.FunctionDef) and part.name == name:
            lines = text.splitlines()
            lines[part.lineno - 1 : part.end_lineno] = written.rstrip().splitlines()
            text = "\n".join(lines) + "\n"
            break
    with suppress(OSError):  # where nothing can be written the page goes on without the file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


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
    """
    kept = Guess(question, low, high)
    if not live():
        page = sys._getframe(1)  # its step after this call is the assignment to that name
        step = next(at for at in dis.get_instructions(page.f_code) if at.offset > page.f_lasti)
        name = step.argval if step.opname in ("STORE_NAME", "STORE_FAST") else "…"
        how = f"type it in below, as `{name}.number = …`."
        print(f"{question} A number from {low} to {high}: {how}")
        return kept
    import ipywidgets
    from IPython.display import display

    field = ipywidgets.Text(placeholder=f"{low} to {high}", continuous_update=False)
    said = ipywidgets.Label()

    def take(change: dict) -> None:
        try:
            kept.number = change["new"]
            said.value = "Kept. The result comes in a later cell."
        except ValueError as error:
            said.value = str(error)

    field.observe(take, names="value")
    display(ipywidgets.VBox([ipywidgets.Label(question), ipywidgets.HBox([field, said])]))
    return kept
