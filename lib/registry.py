"""The editors by name, on the ground: who needs one looks it up without importing the methods.

`lib.editors` fills EDITORS when it is imported, and `import lib` does that. Below it, a patch makes
its log again, a wrapper finds its inner editor and a stream its editor by a name in this table.
"""

from __future__ import annotations

from typing import Any

from .errors import EditError


class Registry(dict[str, type[Any]]):
    """Name -> class; an unknown name is a sentence that lists the known ones."""

    def __missing__(self, name: str) -> type[Any]:
        raise EditError(f"there is no editor '{name}'; there are {', '.join(sorted(self))}")


EDITORS = Registry()
