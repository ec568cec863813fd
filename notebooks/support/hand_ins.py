"""A student's file of an exercise, and how a function of a page gets into it.

The grader knows the file alone, so a page tries the file, too: with the function in it, and with
what the page has imported for the function.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType

from lessons.grading.exercise_source import Exercise, aside
from lessons.grading.files import Missing, text_of
from lessons.grading.verdict import Verdict, hand_in
from lib import Error
from lib.atomic_files import whole_file

ROOT = Path(__file__).parents[2]
MY = Path(os.environ.get("MY_EXERCISES") or ROOT / "my")


class HandIn:
    """The file of one exercise in the student's folder.

    path     where it is, or would be
    found    its text, or a verdict where there is none that could be run
    text     its text, and the stub where it cannot be read as Python
    broken   one sentence about a file that is there and cannot be read, else empty
    """

    def __init__(self, exercise: Exercise, folder: Path) -> None:
        self.path, self.text, self.broken = folder / exercise.path.name, exercise.stub, ""
        self.found = hand_in([exercise], folder)[0]
        self.stub = exercise.stub
        if isinstance(self.found, Verdict):
            self.broken = "" if self.found.status == "missing" else self.found.message
            return
        try:
            ast.parse(self.found)
            self.text = self.found
        except (SyntaxError, ValueError, RecursionError) as error:
            self.broken = f"it is not Python ({error})"

    @property
    def name(self) -> str:
        """The path as a sentence names it, from the folder of the repository on."""
        place = self.path.resolve()
        return str(place.relative_to(ROOT) if place.is_relative_to(ROOT) else self.path)

    def having(self, function: Callable, written: str) -> str:
        """The text with this function, and the imports that it needs, in the place of the old."""
        lines = self.text.splitlines()
        mine = _place(self.text, function.__name__)
        gap = [] if mine else ["", ""]
        lines[mine or slice(len(lines), None)] = [*gap, *written.rstrip().splitlines()]
        parts = ast.parse("\n".join(lines)).body
        there = (n for n in parts if isinstance(n, ast.Import | ast.ImportFrom))
        first = next((n for n in there if getattr(n, "module", "") != "__future__"), None)
        at = first.lineno - 1 if first else getattr(parts[0], "end_lineno", 0)
        lines[at:at] = imported(inspect.unwrap(function), written, "\n".join(lines))
        return "\n".join(lines) + "\n"

    def keep(self, text: str, *functions: str) -> str:
        """Write the text, and return a sentence that says where it is; nothing is lost.

        Where one of these functions was another one before, the file is laid aside as it was, and
        the sentence names the function. A file that cannot be read is left alone.
        """
        if self.broken:
            return f"{self.name} was left unchanged: {self.broken}."
        said = f"It is saved in {self.name}, ready to be handed in."
        was = [
            name
            for name in functions
            if _function(self.text, name) not in (_function(one, name) for one in (self.stub, text))
        ]
        try:
            if text != self.found:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if was:
                    old = aside(self.path)
                    with whole_file(old) as part:
                        part.write_text(self.text, encoding="utf-8")
                    mine = " and ".join(was)
                    said = f"{said[:-1]}; your earlier {mine} can be found in {old.name}."
                with whole_file(self.path) as part:
                    part.write_text(text, encoding="utf-8")
        except (OSError, Error) as error:  # the page goes on without the file
            return f"It could not be saved in {self.name} ({error})."
        return said


class Editor(HandIn):
    """A file of the student's own that grows from page to page, such as `my/editor.py`.

    The leaderboard takes it as soon as it has `edit(lm, facts, after)`; see lessons/project.md.
    """

    def __init__(self, file: str) -> None:
        self.path, self.broken = MY / file, ""
        self.found = self.text = self.stub = f'"""{file}: my own editor."""\n'
        try:
            self.found = self.text = text_of(self.path)
            ast.parse(self.text)
        except Missing:
            self.found = ""
        except (ValueError, SyntaxError, RecursionError) as error:
            self.text, self.broken = self.stub, f"it cannot be read ({error})"

    def grow(self, *functions: Callable) -> None:
        """Put functions into the file, in the place of those of their names, and say so."""
        names, was = [function.__name__ for function in functions], self.text
        for function in map(inspect.unwrap, functions):
            self.text = self.having(function, textwrap.dedent(inspect.getsource(function)))
        text, self.text = self.text, was
        book = self.path.parent == Path(os.devnull)  # it is built, and no student has a folder
        said = f"saved in my/{self.path.name}" if book else self.keep(text, *names)
        self.found = self.text = text
        print(f"{', '.join(names)}: {said}")


def imported(function: Callable, written: str, text: str) -> list[str]:
    """Import lines for what the function uses, the page has imported, and `text` has not.

    What the page itself defines is not among them: a hand-in has no other cells.
    """
    code = compile(text, "file", "exec")
    bound = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}
    lines = []
    used = _loaded(compile(written, "cell", "exec", dont_inherit=True))  # annotations, too
    for name in sorted(set(used) - bound - {*dir(builtins)}):
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            lines.append(f"import {value.__name__}")
            lines[-1] += f" as {name}" * (value.__name__ != name)
            continue
        module, own = getattr(value, "__module__", None), getattr(value, "__name__", name)
        known = module not in (None, "__main__")  # a misspelled name is no value of anything
        if known and getattr(sys.modules.get(module or ""), own, None) is value:
            lines.append(f"from {module} import {own}" + f" as {name}" * (own != name))
    return lines


def _loaded(code: CodeType) -> Iterator[str]:
    """The global names that a piece of a program reads."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _loaded(part)


def _place(text: str, name: str) -> slice | None:
    """The lines of a function, with its decorators; of the last one of this name."""
    for part in reversed(ast.parse(text).body):
        if isinstance(part, ast.FunctionDef) and part.name == name:
            first = min([part.lineno, *(one.lineno for one in part.decorator_list)])
            return slice(first - 1, part.end_lineno)
    return None


def _function(text: str, name: str) -> str:
    place = _place(text, name)
    return "\n".join(text.splitlines()[place]) if place else ""
