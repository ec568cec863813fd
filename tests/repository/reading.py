"""How much of the library a reader has to open to follow one call.

    python -m tests.repository.reading            a few editors and `evaluate`
    python -m tests.repository.reading emmet      others by name

One fact is edited on a random model of four layers whose statistics an edit before has made, and
every file of `lib` that runs is written down:

    files        of `lib` in which a statement ran
    statements   of those files that ran, without docstrings
    lines        of the functions that were entered, without their docstrings

Merging files changes only the first number. What ran while the editor was made (its settings) and
while `lib` was imported is not counted.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import lib

from ..support import editor_settings
from ..support.cases import small_cases

LIB = str(Path(lib.__file__).parent)
CALLS = ("rome", "memit", "grace", "wise", "ultraedit", "evaluate")
METRICS = ("efficacy", "generalization", "specificity", "locality")


class Reading(NamedTuple):
    """What a reader has to open."""

    files: int
    statements: int
    lines: int


def traced(job: Callable[[], object], root: str = LIB) -> Reading:
    """Run a job and count what of the files below `root` it ran through."""
    ran: dict[str, set[int]] = {}
    entered: set[CodeType] = set()

    def inside(frame: FrameType, event: str, _: Any) -> Callable:
        if event == "line":
            ran.setdefault(frame.f_code.co_filename, set()).add(frame.f_lineno)
        return inside

    def called(frame: FrameType, event: str, _: Any) -> Callable | None:
        if not frame.f_code.co_filename.startswith(root):
            return None
        entered.add(frame.f_code)
        return inside

    before = sys.gettrace()
    sys.settrace(called)
    try:
        job()
    finally:
        sys.settrace(before)
    statements = lines = 0
    for name, numbers in ran.items():
        tree = ast.parse(Path(name).read_text(encoding="utf-8"))
        starts = {code.co_firstlineno for code in entered if code.co_filename == name}
        docstrings = list(docstrings_of(tree))
        statements += sum(
            bool(numbers.intersection(head(node)))
            for node in ast.walk(tree)
            if isinstance(node, ast.stmt) and node not in docstrings
        )
        read: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and first_line(node) in starts:
                read.update(range(first_line(node), node.end_lineno + 1))
        for node in docstrings:
            read.difference_update(range(node.lineno, node.end_lineno + 1))
        lines += len(read)
    return Reading(len(ran), statements, lines)


def docstrings_of(tree: ast.AST) -> list[ast.stmt]:
    """The docstrings of a file, as statements."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    return [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    ]


def head(node: ast.stmt) -> range:
    """The lines of a statement, without those of the statements inside it."""
    inner = getattr(node, "body", None)
    return range(node.lineno, inner[0].lineno if inner else node.end_lineno + 1)


def first_line(node: ast.FunctionDef) -> int:
    """Where a function begins, decorators included."""
    return min(node.lineno, *(one.lineno for one in node.decorator_list), node.lineno)


def reading(call: str, family: str = "gpt2") -> Reading:
    """The reading set of one edit by the editor of this name, or of `evaluate`."""
    lm = editor_settings.model(family)
    if call == "evaluate":
        rome = lib.EDITORS["rome"](lm, **editor_settings.settings("rome", family))
        patch, cases = rome.edit([editor_settings.A], check=False), small_cases()[:1]
        return traced(lambda: lib.evaluate(lm, cases, patch, metrics=METRICS))
    given = dict(editor_settings.settings(call, family))
    given.pop("templates", None)  # texts in front of the fact are part of the methods
    lib.EDITORS[call](lm, **given).edit([editor_settings.A], check=False)
    editor = lib.EDITORS[call](lm, **given)
    return traced(lambda: editor.edit([editor_settings.A], check=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.repository.reading")
    parser.add_argument("calls", nargs="*", default=CALLS, help="names of editors, or evaluate")
    given = parser.parse_args(arguments)
    print(f"{'':12}{'files':>7}{'statements':>12}{'lines':>7}")
    for call in given.calls:
        found = reading(call)
        print(f"{call:12}{found.files:>7}{found.statements:>12}{found.lines:>7}", flush=True)


if __name__ == "__main__":
    main()
