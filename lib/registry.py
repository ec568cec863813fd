"""The table of editors by name, in the lowest package, available to all other packages.

`lib.editors` fills EDITORS when it is imported, which `import lib` does. This lets a patch
replaying its log, a wrapper given the name of its inner editor, and a stream find their editors
without importing the methods.
"""

from __future__ import annotations

from typing import Any

from .errors import EditError
from .setting_fields import nearest, shown


class Registry(dict[str, type[Any]]):
    """Name -> class. An unknown name raises EditError, listing the known names.

    `EDITORS["mine"] = Mine` registers your own editor, replacing it after a change.
    """

    def __missing__(self, name: str) -> type[Any]:
        """Raise EditError for an unknown name."""
        raise EditError(
            f"There is no editor '{name}'. Available editors: "
            f"{', '.join(sorted(self))}{nearest(str(name), self)}"
        )

    def __setitem__(self, name: str, kind: type[Any]) -> None:
        """Register a class; raises EditError if it is not one, or its name differs or is taken."""
        if not isinstance(kind, type) or getattr(kind, "name", None) != name:
            raise EditError(
                f"EDITORS['{name}'] should be a class with name = '{name}', not {shown(kind)}."
            )
        if name in self and of_library(self[name]) and not of_library(kind):
            raise EditError(f"The library has an editor '{name}'. Give yours another name.")
        super().__setitem__(name, kind)


def of_library(kind: type[Any]) -> bool:
    """Return whether a class is the library's own rather than its user's."""
    return kind.__module__.partition(".")[0] == __package__


EDITORS = Registry()
