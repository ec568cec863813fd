"""One file per method; EDITORS maps a method's name to its class."""

from __future__ import annotations

from ..editor import EditError, Editor
from .ft import Ft, FtL, FtM
from .retrieval import Retrieval
from .rome import Rome


class _Editors(dict[str, type[Editor]]):
    """Name -> class; an unknown name is a sentence that lists the known ones."""

    def __missing__(self, name: str) -> type[Editor]:
        raise EditError(f"there is no editor '{name}'; there are {', '.join(sorted(self))}")


EDITORS = _Editors((editor.name, editor) for editor in (Rome, Ft, FtL, FtM, Retrieval))
