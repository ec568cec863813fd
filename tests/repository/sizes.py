"""How large each room of the project is, and how large it may be.

    python -m tests.repository.sizes            prints the table
    python -m tests.repository.sizes --lower    writes smaller numbers into sizes.toml

A room's size is its *working statements* (statements without docstrings and imports) and its lines.
`sizes.toml` holds the largest size that each room, and each part of the project as a whole, may
have. It is a ratchet: numbers fall. Whoever has to raise the number of a room writes the reason as
a comment on its line; the number of a part is not raised.
"""

from __future__ import annotations

import argparse
import ast
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIMITS = Path(__file__).with_name("sizes.toml")
PARTS = ("lib", "lib/workbench", "demo_app", "lessons", "notebooks", "tests")
LINE = re.compile(r'^"([\w/]+)" = \[(\d+), (\d+)\](?:  # (.+))?$')


class Size(NamedTuple):
    """Working statements and lines."""

    statements: int
    lines: int

    def within(self, limit: Sequence[int]) -> bool:
        """Neither number is above its limit."""
        return self.statements <= limit[0] and self.lines <= limit[1]


def measured(text: str) -> Size:
    """The size of one file.

    A module with a docstring, an import and `x = 1` has 1 working statement.
    """
    nodes = list(ast.walk(ast.parse(text)))
    statements = sum(
        isinstance(node, ast.stmt) and not isinstance(node, ast.Import | ast.ImportFrom)
        for node in nodes
    )
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = sum(
        isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
        for node in nodes
    )
    return Size(statements - docstrings, len(text.splitlines()))


def sizes(root: Path) -> dict[str, Size]:
    """{part or room: size}; files that stand directly in a part are in the room `part/root`."""
    found: Counter[tuple[str, str]] = Counter()
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            inside = path.relative_to(root / part).parts
            if f"{part}/{inside[0]}" in PARTS:  # a part of its own
                continue
            room = inside[0] if len(inside) > 1 else "root"
            for name in (part, f"{part}/{room}"):
                size = measured(path.read_text(encoding="utf-8"))
                found[name, "statements"] += size.statements
                found[name, "lines"] += size.lines
    names = dict.fromkeys(name for name, _ in found)
    return {name: Size(found[name, "statements"], found[name, "lines"]) for name in names}


def too_large(now: dict[str, Size], limits: dict[str, Sequence[int]]) -> list[str]:
    """One sentence for each part or room above its number, and for each that has none."""
    found = []
    for name, size in now.items():
        if name not in limits:
            found.append(f"{name} has no number in sizes.toml; it has [{size[0]}, {size[1]}]")
        elif not size.within(limits[name]):
            found.append(f"{name} has {list(size)}, and sizes.toml allows {list(limits[name])}")
    return found


def unexplained(before: str, after: str) -> list[str]:
    """Names of numbers that `after` raises over `before` without a new comment on the line."""
    old = {match[1]: match for match in map(LINE.match, before.splitlines()) if match}
    found = []
    for match in filter(None, map(LINE.match, after.splitlines())):
        was = old.get(match[1])
        if was is None:  # a new room: the number of its part holds it
            continue
        raised = int(match[2]) > int(was[2]) or int(match[3]) > int(was[3])
        if raised and (match[4] is None or match[4] == was[4]):
            found.append(match[1])
    return found


def lowered(text: str, now: dict[str, Size]) -> str:
    """The text of sizes.toml with smaller numbers where the project has become smaller.

    Rooms that are gone leave, new rooms come with their size, and a comment leaves with the number
    that it explained.
    """
    head = [line for line in text.splitlines() if line.startswith("#")]
    found = {match[1]: match for match in map(LINE.match, text.splitlines()) if match}
    out = [*head, ""]
    for name, size in now.items():
        was = found.get(name)
        limits = Size(int(was[2]), int(was[3])) if was else size
        new = Size(min(size.statements, limits.statements), min(size.lines, limits.lines))
        comment = f"  # {was[4]}" if was and was[4] and new == limits else ""
        out.append(f'"{name}" = [{new.statements}, {new.lines}]{comment}')
    return "\n".join(out) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or lower the numbers of sizes.toml."""
    parser = argparse.ArgumentParser(prog="python -m tests.repository.sizes")
    parser.add_argument("--lower", action="store_true", help="write smaller numbers")
    given = parser.parse_args(arguments)
    now = sizes(ROOT)
    text = LIMITS.read_text(encoding="utf-8")
    if given.lower:
        LIMITS.write_text(lowered(text, now), encoding="utf-8")
        return
    limits = tomllib.loads(text)
    print(f"{'':24}{'statements':>12}{'allowed':>9}{'lines':>9}{'allowed':>9}")
    for name, size in now.items():
        most = limits.get(name, ("–", "–"))
        print(f"{name:24}{size.statements:>12}{most[0]:>9}{size.lines:>9}{most[1]:>9}")


if __name__ == "__main__":
    main()
