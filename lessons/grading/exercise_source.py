"""The source of an exercise: a file with its statement, solution, checks, and wrong answers.

The students' stub is extracted from that file, so that there is only one source:

l2_1_insert.py        session 2, number 1
docstring             ★ and title, then the statement with shapes and hints
# solution            the block from here to the end of its function, or `# end`
# --- checks          then check(ask, draw) and WRONG, which students don't get
"""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

LESSONS = Path(__file__).parents[1]  # the folder with the exercises
# packages of this repository, which a hand-in doesn't have
OURS = {one.name for one in LESSONS.parent.iterdir() if (one / "__init__.py").is_file()}
CHECKS = "# --- checks"
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what `ast.parse` raises
LINE = 'return "not attempted"  # your code goes here'


@dataclass(frozen=True)
class Exercise:
    """An exercise. `number` is "2.1", and `name` is the file's name without .py."""

    path: Path
    session: int
    place: int

    @property
    def number(self) -> str:
        return f"{self.session}.{self.place}"

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        return self.heading.lstrip("★ ")

    @property
    def stars(self) -> int:
        return self.heading.count("★")

    @cached_property
    def heading(self) -> str:
        return (ast.get_docstring(ast.parse(self.solution)) or self.name).splitlines()[0]

    @cached_property
    def solution(self) -> str:
        """The upper part with its solution, as shown by the command `solution`."""
        head, found, _ = self.path.read_text(encoding="utf-8").partition(f"\n{CHECKS}")
        if not found:
            raise ValueError(f"{self.path.name} has no line `{CHECKS}`")
        return head.rstrip() + "\n"

    @property
    def stub(self) -> str:
        """The file that students get."""
        return self.with_bodies(dict.fromkeys(self.blocks, LINE))

    @cached_property
    def module(self) -> ModuleType:
        """The whole file, imported: `check` and `WRONG`."""
        return importlib.import_module(f"lessons.{self.name}")

    def option(self, name: str) -> Any:
        """A constant below the checks: SECONDS of CPU per call, LIB = True to allow `lib`."""
        return getattr(self.module, name, None)

    @property
    def blocks(self) -> list[str]:
        """The functions that have a solution block, in order."""
        return [name for name, _, _ in _blocks(self.solution)]

    def open_in(self, text: str) -> list[str]:
        """The functions that contain only a docstring and `...` in this text, as in a notebook."""
        try:
            parts = ast.parse(text).body
        except UNREADABLE:
            return []
        return [one.name for one in parts if is_empty(one) and one.name in self.blocks]

    def wrong(self, body: str | Mapping[str, str]) -> str:
        """The file with a typical mistake: one body for all blocks, or as in `with_bodies`."""
        if isinstance(body, str):
            body = dict.fromkeys(self.blocks, body)
        return self.with_bodies(body)

    def with_bodies(self, bodies: Mapping[str, str]) -> str:
        """The upper part, replacing some solution blocks or pieces of them.

        {"insert": "return W"} replaces the body of a function, {"k @ u": "k @ k"} a piece.
        """
        lines = self.solution.splitlines()
        for name, first, last in reversed(_blocks(self.solution)):
            indent = re.match(r"\s*", lines[first]).group()
            text = bodies.get(name, "\n".join(lines[first:last]))
            text = textwrap.dedent(text).strip("\n")
            for piece, other in bodies.items():
                text = text if piece in self.blocks else text.replace(piece, other)
            lines[first:last] = textwrap.indent(text, indent).splitlines()
        return "\n".join(lines).rstrip() + "\n"


def is_empty(part: ast.AST) -> bool:
    """Return whether a piece of a program is a function containing only constants."""
    return isinstance(part, ast.FunctionDef) and all(
        isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in part.body
    )


def _blocks(text: str) -> list[tuple[str, int, int]]:
    """(function, first line, line after the last) of every solution block, lines from 0."""
    lines, found = [line.strip() for line in text.splitlines()], []
    for part in ast.parse(text).body:
        if isinstance(part, ast.FunctionDef):
            at = {lines[i]: i for i in range(part.lineno, part.end_lineno)}
            if "# solution" in at:
                last = at.get("# end", part.end_lineno - 1)
                found.append((part.name, at["# solution"], last + 1))
    return found


def aside(path: Path) -> Path:
    """An unused name next to a student's file, for its previous contents: l2_1_insert.py.old1."""
    names = (path.with_name(f"{path.name}.old{n}") for n in count(1))
    return next(name for name in names if not name.exists())


def exercises(which: str = "all") -> list[Exercise]:
    """The exercises of a session ("2"), a single exercise ("2.1"), or all ("all"), in order.

    Raises ValueError if there is none.
    """
    names = ((path, re.fullmatch(r"l(\d+)_(\d+)_\w+", path.stem)) for path in LESSONS.glob("*.py"))
    found = [Exercise(path, int(name[1]), int(name[2])) for path, name in names if name]
    found.sort(key=lambda e: (e.session, e.place))
    chosen = [e for e in found if which in ("all", str(e.session), e.number, e.name)]
    if not chosen:
        there = ", ".join(sorted({str(e.session) for e in found}, key=int))
        raise ValueError(
            f"there is no exercise {which!r}. Use a session ({there}), an exercise such as 2.1, "
            "or all"
        )
    return chosen
