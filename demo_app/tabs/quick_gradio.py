"""Imports Gradio without the type stubs that it would write beside its own sources.

For every component Gradio parses its own source file and writes a .pyi file for code editors, at
each import. That is more than half of the import's time (measured with Gradio 6.31 on this
project's machine: 3.1 CPU seconds with it, 1.5 without), and a page that runs needs none of it.
Where Gradio has no such function any more, it is imported as it is.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

WRITER, FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the module that writes stubs as usual, and takes the function out once it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own specification with another loader; None for any other module."""
        if name != WRITER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return spec
        spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Run the module, and put a function that does nothing in the place of the writer."""
        super().exec_module(module)
        if hasattr(module, FUNCTION):
            setattr(module, FUNCTION, _nothing)


def _nothing(*_: Any, **__: Any) -> None:
    """Writes no stub."""


def load() -> ModuleType:
    """Gradio, imported; as it is where it was imported before."""
    if WRITER in sys.modules:
        return importlib.import_module("gradio")
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module("gradio")
    finally:
        sys.meta_path.remove(finder)
