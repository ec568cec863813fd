"""The content of a journal's files: one schema for each, and checksums that show damage.

Each JSON object that a journal stores ends in a key of its own, `"sum"`: 16 hex digits of the
SHA-256 of the bytes before it. `state.json` names the SHA-256 of everything else that counts, of
rows.jsonl up to the counted byte, of each point and of the patch, so that a file from another
moment of the run is noticed too. Journals of format 1 have no checksums. Their files are held
against the schemas and against each other, and what is written from then on has checksums.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

FORMAT = 2  # grows when an older library would misread a journal; 2 has checksums
_SEAL = re.compile(rb', "sum": "([0-9a-f]{16})"\}\Z')
T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Sum = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Means = dict[str, float | None]  # {event: mean}
# case, metric, event, prompt, value, text, answer: a line of a table of scores
Line = tuple[int | str | float | bool | None, str, str, str, float | None, str | None, str | None]


class Spent(msgspec.Struct, forbid_unknown_fields=True):
    """The seconds spent so far."""

    edit: Seconds
    evaluate: Seconds


class State(msgspec.Struct, forbid_unknown_fields=True):
    """state.json: what counts. `sums` is None in format 1, else {file: SHA-256}."""

    edits: Count
    patch: str | None
    bytes: Count
    points: list[Count]
    seconds: Spent
    sums: dict[str, Sum] | None = None

    def __post_init__(self) -> None:
        """Refuse values that no run can have at once; msgspec reports the ValueError."""
        if self.patch != (f"patch-{self.edits}.safetensors" if self.edits else None):
            raise ValueError(f"the patch {self.patch!r:.60} is not one of {self.edits} edits")
        if bool(self.bytes) != bool(self.edits):
            raise ValueError(f"{self.edits} edits do not fit {self.bytes} bytes of rows")
        if sorted({*self.points}) != self.points or any(n > self.edits for n in self.points):
            raise ValueError(f"the points {self.points!r:.60} do not fit {self.edits} edits")


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """The row of a batch; see `lib.lifelong.run.Run`."""

    edits: Count
    rows: tuple[Count, Count]
    seconds: Seconds
    efficacy: Means
    scores: dict[str, Means | float | None] | msgspec.UnsetType = msgspec.UNSET


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """A line of rows.jsonl: a batch's row, and the scores of its facts right after it."""

    row: Row
    facts: list[Line]


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """point-N.json: the measurements after N edits."""

    title: str
    perplexity: float | None
    contradicted: Count
    rows: list[Line]


def sealed(content: Mapping[str, Any]) -> bytes:
    """A JSON object that is not empty, with its checksum as the last key."""
    body = json.dumps(content).encode()
    return body[:-1] + f', "sum": "{_digest(body)}"}}'.encode()


def unsealed(data: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object in `data` without its checksum, and whether it had one.

    Raises ValueError where the checksum does not fit, or where the data are no JSON object.
    """
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError("is no JSON object")
    if content.pop("sum", None) is None:
        return content, False
    seal = _SEAL.search(data)
    if seal is None or seal[1].decode() != _digest(data[: seal.start()] + b"}"):
        raise ValueError("has another checksum than its content")
    return content, True


def checked(content: Mapping[str, Any], schema: type[T]) -> T:
    """The content as the schema has it; ValueError, which names the key, where it does not fit."""
    try:
        return msgspec.convert(content, schema)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"holds a wrong value ({error})") from None


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]
