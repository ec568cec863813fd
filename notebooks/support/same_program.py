"""Whether two versions of a notebook run the same program, apart from their imports.

A module that moves changes the import lines of many notebooks, and nothing of what they show. Then
the outputs of a built notebook are still those of its source, and the builder can keep them.

The comparison is made on syntax trees, so that layout and comments do not count. Import statements
are left out. A function may be reached in another way, as `facts.lookup(…)` and
`lib.facts.lookup(…)`. It may also come from another place, or have another name, if nothing of its
former name is left where it came from: then it has moved. What cannot be seen here is whether it
still does what it did.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


def first_difference(before: Sequence[str], after: Sequence[str], root: Path) -> int | None:
    """Return the index of the first cell whose code does something else; None if there is none.

    `before` and `after` are the code of the same cells, in order. `root` is the folder of the
    packages as they are now.
    """
    old, new = ([_Cell(text, _imported(texts)) for text in texts] for texts in (before, after))
    forth: dict[str, str] = {}  # where a name came from -> where it comes from now
    back: dict[str, str] = {}
    for i, (mine, theirs) in enumerate(zip(old, new, strict=True)):
        if mine.tree != theirs.tree or len(mine.sources) != len(theirs.sources):
            return i
        for a, b in zip(mine.sources, theirs.sources, strict=True):
            (was, there), (now, _) = _origin(a, root), _origin(b, root)
            if was != now and there:
                return i
            if forth.setdefault(was, now) != now or back.setdefault(now, was) != was:
                return i
    return None


def _imported(texts: Sequence[str]) -> dict[str, str]:
    """Return name -> where it comes from, of every name that an import in these cells binds.

    "from lib import facts as f; import torch.nn" -> {"f": "lib.facts", "torch": "torch"}
    """
    trees = (ast.parse(text) for text in texts)
    return {name: source for tree in trees for name, source in _imports(tree, "").items()}


def _imports(tree: ast.AST, package: str) -> dict[str, str]:
    """Return name -> where it comes from; relative imports start from `package`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                found[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            module = [*(above if node.level else []), *filter(None, [node.module])]
            for alias in node.names:
                found[alias.asname or alias.name] = ".".join([*module, alias.name])
    return found


def _origin(name: str, root: Path) -> tuple[str, bool]:
    """Return where a dotted name is defined in the packages of `root`, and whether it is there.

    "lib.Fact" -> ("lib.data.facts.Fact", True), since lib/__init__.py takes it from there. Names of
    other packages stay as they are, and count as being there.
    """
    first, *parts = name.split(".")
    if not (root / first).is_dir():
        return name, True
    place, package = root / first, first
    while parts:
        inside = place.is_dir()
        file = place / "__init__.py" if inside else place.with_suffix(".py")
        taken, defined = _names(file, package if inside else package.rpartition(".")[0])
        if parts[0] in taken:
            return _origin(".".join([taken[parts[0]], *parts[1:]]), root)
        if (kind := defined.get(parts[0])) is not None:
            # nothing can be taken from a function: the name meant a module of this name
            return name, kind is not ast.FunctionDef or len(parts) == 1
        if not inside:
            return name, False
        place, package = place / parts[0], f"{package}.{parts[0]}"
        if not place.is_dir() and not place.with_suffix(".py").is_file():
            return name, False
        parts = parts[1:]
    return name, True


@cache
def _names(file: Path, package: str) -> tuple[dict[str, str], dict[str, type[ast.AST]]]:
    """Return what a module imports, {name: where from}, and what it defines, {name: kind}.

    A kind is the tree's node: a function, a class, or a name to which a value is bound.
    """
    found: dict[str, type[ast.AST]] = {}
    tree = ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = ast.Name
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = type(node)
    return _imports(tree, package), found


class _Cell(ast.NodeTransformer):
    """The tree of one cell, as text, without its imports and without what they brought.

    tree     an imported name stands there as "imported", with all dots after it
    sources  what stood there, in order: "lib.data.facts.lookup"
    """

    def __init__(self, text: str, imported: Mapping[str, str]) -> None:
        self.imported, self.sources = imported, []
        # a last line that ends in a semicolon shows nothing, and the tree does not say so
        quiet = text.rstrip().endswith(";")
        self.tree = ast.dump(self.visit(ast.parse(text))) + ";" * quiet

    def visit_Import(self, node: ast.Import) -> None:
        """Leave the statement out."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Leave the statement out."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`facts.lookup` -> `imported`, noted as "lib.facts.lookup"."""
        root, dots = node, []
        while isinstance(root, ast.Attribute):
            dots.insert(0, root.attr)
            root = root.value
        if not isinstance(root, ast.Name) or root.id not in self.imported:
            return self.generic_visit(node)
        self.sources.append(".".join([self.imported[root.id], *dots]))
        return ast.Name("imported", node.ctx)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """`lookup` -> `imported`, noted as "lib.facts.lookup"."""
        if node.id not in self.imported:
            return node
        self.sources.append(self.imported[node.id])
        return ast.Name("imported", node.ctx)
