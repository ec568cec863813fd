"""Whether two versions of a notebook run the same program, so that the outputs of one can be kept.

Syntax trees are compared, in which layout and comments do not count. Import statements are left
out of them: a module that moves changes these in many notebooks, and nothing of what is shown. Names
that the library's `renamed.toml` lists are taken as what they are called today.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path


def first_difference(before: Sequence[str], after: Sequence[str], root: Path) -> int | None:
    """Return the index of the first cell whose code does something else; None if there is none.

    `before` and `after` are the code of the same cells, in order. A name may be imported from
    another module only if its former module was in `root`, the folder of the packages, and is gone.
    """
    cells = [[_cell(text, _renamed(root)) for text in version] for version in (before, after)]
    known = {one for _, bound in cells[0] for one in bound}
    for i, (old, new) in enumerate(zip(*cells, strict=True)):
        moved = {bound: name for bound, _, name in new[1] - known}
        was = [one for one in known if one[0] in moved]
        same = all(name == moved[bound] and _gone(root, module) for bound, module, name in was)
        if old[0] != new[0] or not same:
            return i
    return None


def _renamed(root: Path) -> dict[str, str]:
    """{old name: name of today}, dotted; empty where the library has no such table."""
    table = root / "lib" / "renamed.toml"
    found = tomllib.loads(table.read_text(encoding="utf-8")) if table.is_file() else {}
    return {f"lib.{old}": f"lib.{new}" for old, new in found.items()}


def _cell(text: str, now: Mapping[str, str]) -> tuple[str, set[tuple[str, str, str]]]:
    """Return a cell's tree without imports, as text, and what these bind: (name, module, in it)."""
    if now:
        some = "|".join(map(re.escape, sorted(now, key=len, reverse=True)))
        text = re.sub(rf"(?<![\w./])(?:{some})\b", lambda found: now[found[0]], text)
    tree, names = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for a in node.names:
                module = getattr(node, "module", "")
                whole = now.get(f"{module}.{a.name}", f"{module}.{a.name}")
                names.add((a.asname or a.name, *whole.rsplit(".", 1)))
        elif isinstance(body := getattr(node, "body", None), list):
            node.body = [n for n in body if not isinstance(n, ast.Import | ast.ImportFrom)]
    quiet = text.rstrip().endswith(";")  # shows nothing, and the tree does not say so
    return ast.dump(tree) + ";" * quiet, names


def _gone(root: Path, module: str) -> bool:
    place = root.joinpath(*module.split("."))
    package = root / module.split(".")[0]
    return package.is_dir() and not place.is_dir() and not place.with_suffix(".py").is_file()
