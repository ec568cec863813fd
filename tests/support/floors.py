"""Reads which module imports which, and holds it against a list of floors.

A *room* is a file or a folder directly under the root of a package. Rooms stand on floors; a module
may import from its own room and from rooms on lower floors, nothing else. What this gives a reader:
to know what a change can break, look at the floors above, and nowhere else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Import(NamedTuple):
    """One imported name: who imports it, from where, and how."""

    importer: str  # dotted path below the root, "editors.rome"
    module: str  # dotted path of the imported module, or of the package that defines the name
    name: str
    line: int
    late: bool  # inside a function, or under `if TYPE_CHECKING`


def modules(root: Path) -> dict[str, Path]:
    """{dotted path below the root: file}; a folder's `__init__` bears the folder's name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if "__pycache__" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> Iterator[Import]:
    """Every import of a name of this package, at any depth of the code."""
    files = modules(root)
    for module, path in files.items():
        inside = path.name == "__init__.py"
        package = module.split(".") if inside and module else module.split(".")[:-1]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        late = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            for inner in ast.walk(node)
        }
        importer = module or "__init__"
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first, _, rest = alias.name.partition(".")
                    if first == root.name:
                        yield Import(importer, rest or "", "", node.lineno, id(node) in late)
                continue
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level > len(package) + 1:  # from above the root: not ours to judge
                continue
            if node.level:
                base = package[: len(package) - (node.level - 1)]
                source = ".".join([*base, *filter(None, [node.module])])
            elif (node.module or "").split(".")[0] == root.name:
                source = node.module.partition(".")[2]
            else:
                continue
            for alias in node.names:
                whole = f"{source}.{alias.name}".lstrip(".")
                to = whole if whole in files else source
                yield Import(importer, to, alias.name, node.lineno, id(node) in late)


def room(module: str) -> str:
    """The room of a module: the first part of its dotted path, `__init__` for the root's own."""
    return module.split(".")[0] or "__init__"


def violations(root: Path, floors: Sequence[set[str]]) -> list[str]:
    """One sentence per import that points sideways or up, comes late, or takes a private name."""
    level = {name: number for number, names in enumerate(floors) for name in names}
    found = [
        f"{name} stands on no floor"
        for name in sorted({room(module) for module in modules(root)} - level.keys())
    ]
    for one in imports(root):
        mine, other = room(one.importer), room(one.module)
        if mine == other or not {mine, other} <= level.keys():
            continue
        where = f"{one.importer}:{one.line}"
        if level[other] >= level[mine]:
            found.append(f"{where} imports {one.module}, which does not stand on a lower floor")
        if one.late:
            found.append(f"{where} imports {one.module} late or for a hint only")
        if one.name.startswith("_") and not one.name.startswith("__"):
            found.append(f"{where} takes the private name {one.name} from {one.module}")
    return found
