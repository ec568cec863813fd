"""One file per method; EDITORS maps a method's name to its class."""

from __future__ import annotations

from ..editor import Editor
from .ft import Ft, FtL, FtM
from .retrieval import Retrieval
from .rome import Rome

EDITORS: dict[str, type[Editor]] = {
    editor.name: editor for editor in (Rome, Ft, FtL, FtM, Retrieval)
}
