"""Extracts the code that students have written into the holes of their notebooks, for the grader.

A hole of exercise 5.1 is a cell containing `use("5.1", …)`. Its function is copied into the text of
a file such as l5_1_weigh.py, together with the notebook's imports that it uses. This gives the same
file that the notebook itself saves. No code from a notebook is run.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from lessons.grading import files
from lessons.grading.exercise_source import OURS, UNREADABLE, Exercise, is_empty

LARGEST = 10_000_000  # bytes of a notebook, with its figures
CODE = 300_000  # letters in all of its cells of code
MOST = 30  # notebooks of a student


class Cell(msgspec.Struct):
    """The fields of a cell that are used here."""

    cell_type: str
    source: str | list[str]


class Notebook(msgspec.Struct):
    """The fields of a notebook that are used here."""

    cells: list[Cell]


def code(path: Path) -> list[str]:
    """The code cells of a notebook. Raises ValueError for a file that is not a notebook."""
    try:
        book = msgspec.json.decode(files.text_of(path, LARGEST), type=Notebook)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        said = f"{path.name} is not a notebook. Save it in Jupyter, and hand in that file"
        raise ValueError(said) from None
    cells = ["".join(cell.source) for cell in book.cells if cell.cell_type == "code"]
    if sum(map(len, cells)) > CODE:
        raise ValueError(f"{path.name} has more than {CODE:,} characters of code")
    return cells


class Written(NamedTuple):
    """A file found in notebooks: its text, the notebooks, and notes on repeated functions."""

    text: str
    paths: list[str]
    twice: list[str]


def written(exercise: Exercise, notebooks: Sequence[tuple[str, Sequence[str]]]) -> Written:
    """The exercise's file with the functions in the notebooks; empty if there are none.

    A hole that is not Python is used unchanged as the file, so that the grader reports the error.
    """
    hole = re.compile(rf"\buse\(\s*[\"']{re.escape(exercise.number)}[\"']")
    found: dict[str, str] = {}
    last: dict[str, tuple[str, str]] = {}
    twice = []
    for path, cells in notebooks:
        for cell in filter(hole.search, cells):
            try:
                parts = ast.parse(cell).body
            except UNREADABLE:
                return Written(cell, [path], [])
            for part in parts:
                filled = isinstance(part, ast.FunctionDef) and not is_empty(part)
                if filled and part.name in exercise.blocks:
                    lines = cell.splitlines()[part.lineno - 1 : part.end_lineno]
                    found[part.name] = "\n".join([*imported(part, cells), *lines])
                    earlier, form = last.get(part.name, (path, "")), ast.dump(part)
                    if earlier[1] not in ("", form):
                        what = f"{part.name} in {path} was graded"
                        other = "an earlier one" if earlier[0] == path else f"in {earlier[0]}"
                        twice.append(f"{what}; not graded: {other}")
                    last[part.name] = path, form
    lines = exercise.stub.splitlines()
    for part in reversed(ast.parse(exercise.stub).body):
        if getattr(part, "name", "") in found:
            lines[part.lineno - 1 : part.end_lineno] = [found[part.name]]
    paths = [*dict.fromkeys(path for path, _ in last.values())]
    return Written("\n".join(lines) + "\n" if found else "", paths, twice)


def imported(function: ast.FunctionDef, cells: Sequence[str]) -> Iterator[str]:
    """The notebook's import lines for the names that a function takes from outside.

    A hand-in doesn't have this repository's packages, so their names are left out.
    """
    try:
        used = {*outside(symtable.symtable(ast.unparse(function), "cell", "exec"))}
    except UNREADABLE:  # such as `nonlocal` without an outer function; running it shows the error
        return
    for cell in cells:
        try:
            parts = ast.parse(cell).body
        except UNREADABLE:  # a notebook command, such as %timeit
            continue
        for part in parts:
            if isinstance(part, ast.Import | ast.ImportFrom):
                module = getattr(part, "module", None)
                part.names = [
                    n
                    for n in part.names
                    if (n.asname or n.name.split(".")[0]) in used
                    and (module or n.name).split(".")[0] not in OURS
                ]
                if part.names:
                    yield ast.unparse(part)


def outside(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a piece of a program reads and doesn't bind itself."""
    for name in table.get_symbols():
        if name.is_referenced() and (name.is_global() or table.get_type() == "module"):
            yield name.get_name()
    for part in table.get_children():
        yield from outside(part)


def collected(
    chosen: Sequence[Exercise], places: Sequence[Path]
) -> tuple[dict[str, Written], list[float], list[str]]:
    """The files of exercises by their names, the notebooks' dates, and what cannot be read.

    A link could lead to another student's notebook, so it counts as unreadable.
    """
    paths = [path for place in places for path in sorted(place.glob("*.ipynb"))]
    if len(paths) > MOST:
        return {}, [], [f"{len(paths)} notebooks are more than {MOST}, so none was read"]
    notebooks, dates, odd = [], [], []
    for path in paths:
        try:
            name = path.name if path.parent == places[-1] else f"{path.parent.name}/{path.name}"
            notebooks.append((name, code(path)))
            dates.append(path.stat().st_mtime)
        except ValueError as error:
            odd.append(str(error))
    found = {one.path.name: written(one, notebooks) for one in chosen} if notebooks else {}
    return {name: one for name, one in found.items() if one.text}, dates, odd
