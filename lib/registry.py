"""The table of editors by name, on the lowest floor, where every room can look an editor up.

`lib.editors` fills EDITORS when it is imported, which `import lib` does. A patch that makes its log
again, a wrapper that is given the name of its inner editor, and a stream find their editors here
without importing the methods.
"""

from __future__ import annotations

from typing import Any

from .errors import EditError
from .setting_fields import nearest


class Registry(dict[str, type[Any]]):
    """Name -> class. An unknown name raises EditError, which lists the known ones."""

    def __missing__(self, name: str) -> type[Any]:
        """Called for an unknown name."""
        raise EditError(
            f"there is no editor '{name}'; there are {', '.join(sorted(self))}"
            f"{nearest(str(name), self)}"
        )


EDITORS = Registry()
