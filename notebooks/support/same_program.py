"""Whether two versions of a notebook run the same program, so that the outputs of one can be kept.

Syntax trees are compared, in which layout and comments do not count. Import statements are left
out of them: a module that moves changes these in many notebooks, and nothing of what is shown.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path


def first_difference(before: Sequence[str], after: Sequence[str], root: Path) -> int | None:
    """Return the index of the first cell whose code does something else; None if there is none.

    `before` and `after` are the code of the same cells, in order. A name may be imported from
    another module only if its former module was in `root`, the folder of the packages, and is gone.
    """
    known = {one for text in before for one in _cell(text)[1]}
    for i, (old, new) in enumerate(zip(map(_cell, before), map(_cell, after), strict=True)):
        moved = {bound: name for bound, _, name in new[1] - known}
        was = [one for one in known if one[0] in moved]
        same = all(name == moved[bound] and _gone(root, module) for bound, module, name in was)
        if old[0] != new[0] or not same:
            return i
    return None


def _cell(text: str) -> tuple[str, set[tuple[str, str, str]]]:
    """Return a cell's tree without imports, as text, and what these bind: (name, module, in it)."""
    tree, names = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name, getattr(node, "module", ""), a.name) for a in node.names}
        elif isinstance(body := getattr(node, "body", None), list):
            node.body = [n for n in body if not isinstance(n, ast.Import | ast.ImportFrom)]
    quiet = text.rstrip().endswith(";")  # shows nothing, and the tree does not say so
    return ast.dump(tree) + ";" * quiet, names


def _gone(root: Path, module: str) -> bool:
    place = root.joinpath(*module.split("."))
    package = root / module.split(".")[0]
    return package.is_dir() and not place.is_dir() and not place.with_suffix(".py").is_file()
