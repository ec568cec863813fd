"""A `repr` for dataclasses that leaves out what was not set.

Some files record a hash of how cases are written, by which they are recognized. A field that is
added to a case later must not change the hash of cases that do not use it.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any


def only_if_set(default: Any) -> Any:
    """A dataclass field that `repr` shows only where it differs from its default."""
    return field(default=default, metadata={"only if set": True})


class Short:
    """A dataclass whose `repr` leaves out the fields of `only_if_set` that were not set."""

    def __repr__(self) -> str:
        shown = [(f, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        inside = (
            f"{f.name}={value!r}"
            for f, value in shown
            if "only if set" not in f.metadata or value != f.default
        )
        return f"{type(self).__name__}({', '.join(inside)})"
