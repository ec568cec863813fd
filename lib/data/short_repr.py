"""Writing dataclasses without unset fields: for readers, and for files that recognize them.

Some files record a hash of cases, used for recognizing them. Adding a field to a case later must
not change the hash of cases not using it. Files of version 0.1 record a hash of the
`repr`; current files record a hash of `as_json`.
"""

from __future__ import annotations

import json
from dataclasses import field, fields
from typing import Any


def only_if_set(default: Any) -> Any:
    """Return a dataclass field that `repr` shows only if it differs from its default."""
    return field(default=default, metadata={"only if set": True})


class Short:
    """A dataclass whose `repr` leaves out unset fields of `only_if_set`."""

    def shown(self) -> dict[str, Any]:
        """Return {field: value}, leaving out unset fields."""
        every = [(f, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        return {f.name: v for f, v in every if "only if set" not in f.metadata or v != f.default}

    def __repr__(self) -> str:
        inside = (f"{name}={value!r}" for name, value in self.shown().items())
        return f"{type(self).__name__}({', '.join(inside)})"


def quoted(text: str) -> str:
    """Return the text for an error message: quoted, on one line, the middle shortened if long."""
    return repr(text if len(text) <= 100 else f"{text[:60]} … {text[-30:]}")


def as_json(value: Any) -> str:
    """Return a value that may contain facts and cases as JSON with sorted keys, for hashing."""
    return json.dumps(value, sort_keys=True, default=Short.shown)
