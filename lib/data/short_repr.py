"""How dataclasses are written without what was not set: for readers, and where a file knows them.

Some files record a hash of cases, by which these are recognized. A field that is added to a case
later must not change the hash of cases that do not use it. Files of version 0.1 record a hash of
the `repr`; those of today record one of `as_json`.
"""

from __future__ import annotations

import json
from dataclasses import field, fields
from typing import Any


def only_if_set(default: Any) -> Any:
    """A dataclass field that `repr` shows only where it differs from its default."""
    return field(default=default, metadata={"only if set": True})


class Short:
    """A dataclass whose `repr` leaves out the fields of `only_if_set` that were not set."""

    def shown(self) -> dict[str, Any]:
        """{field: value} without the fields that were not set."""
        every = [(f, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        return {f.name: v for f, v in every if "only if set" not in f.metadata or v != f.default}

    def __repr__(self) -> str:
        inside = (f"{name}={value!r}" for name, value in self.shown().items())
        return f"{type(self).__name__}({', '.join(inside)})"


def quoted(text: str) -> str:
    """The text for an error message: quoted, on one line, shortened in the middle when long."""
    return repr(text if len(text) <= 100 else f"{text[:60]} … {text[-30:]}")


def as_json(value: Any) -> str:
    """A value that may hold facts and cases, as JSON with sorted keys: what a hash is made of."""
    return json.dumps(value, sort_keys=True, default=Short.shown)
