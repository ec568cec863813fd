"""One file per method; EDITORS maps a method's name to its class."""

from __future__ import annotations

from ..editor import Editor
from .rome import Rome

EDITORS: dict[str, type[Editor]] = {editor.name: editor for editor in (Rome,)}
