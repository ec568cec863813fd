"""Whether two versions of a notebook run the same program, apart from their imports.

A module that moves changes the import lines of many notebooks, and nothing of what they show. Then
the outputs of a built notebook are still those of its source, and the builder can keep them.

The comparison is made on syntax trees, so that layout and comments do not count. Import statements
are left out. A function may be reached in another way, as long as it has the same name: after a
move `facts.lookup(…)` and `lib.data.facts.lookup(…)` are the same, if they are so wherever they
stand. What cannot be seen here is whether the function in the new place still does what the one in
the old place did.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence


def first_difference(before: Sequence[str], after: Sequence[str]) -> int | None:
    """Return the index of the first cell whose code does something else; None if there is none.

    `before` and `after` are the code of the same cells, in order.
    """
    old, new = ([_Cell(text, _imported(texts)) for text in texts] for texts in (before, after))
    used, uses = ({name for cell in cells for name in cell.sources} for cells in (old, new))
    forth: dict[str, str] = {}  # where a name came from -> where it comes from now
    back: dict[str, str] = {}
    for i, (mine, theirs) in enumerate(zip(old, new, strict=True)):
        if mine.tree != theirs.tree or len(mine.sources) != len(theirs.sources):
            return i
        for a, b in zip(mine.sources, theirs.sources, strict=True):
            if a != b and (a in uses or b in used):  # what both versions use has not moved
                return i
            if a.rpartition(".")[2] != b.rpartition(".")[2]:
                return i
            if forth.setdefault(a, b) != b or back.setdefault(b, a) != a:
                return i
    return None


def _imported(texts: Sequence[str]) -> dict[str, str]:
    """Return name -> where it comes from, of every name that an import in these cells binds.

    "from lib import facts as f; import torch.nn" -> {"f": "lib.data.facts", "torch": "torch"}
    """
    found = {}
    for node in (node for text in texts for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                found[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                found[alias.asname or alias.name] = f"{module}.{alias.name}"
    return found


class _Cell(ast.NodeTransformer):
    """The tree of one cell, as text, without its imports and without what they brought.

    tree     an imported name stands there as "imported", with all dots behind it
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
        """`facts.lookup` -> `imported`, noted as "lib.data.facts.lookup"."""
        root, dots = node, []
        while isinstance(root, ast.Attribute):
            dots.insert(0, root.attr)
            root = root.value
        if not isinstance(root, ast.Name) or root.id not in self.imported:
            return self.generic_visit(node)
        self.sources.append(".".join([self.imported[root.id], *dots]))
        return ast.Name("imported", node.ctx)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """`lookup` -> `imported`, noted as "lib.data.facts.lookup"."""
        if node.id not in self.imported:
            return node
        self.sources.append(self.imported[node.id])
        return ast.Name("imported", node.ctx)
