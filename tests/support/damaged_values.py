"""Seeded damage for files: JSON values that are changed somewhere, and bytes.

Every function takes a `random.Random` first and changes nothing that it is given, so a case is
named by its seed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

Path = tuple[Any, ...]
NUMBERS = [0, -1, 1, 2, 7, 1 << 31, 1 << 63, 10**9, 10**12, 10**40, -(10**12), 0.5, -0.0, 1e308,
           1e-320, float("inf"), float("nan")]  # fmt: skip
TEXTS = ["", " ", "x", "{}", "{}{}", "\ud800", "a\udfffb", "\x00", "x" * 5000, "../../etc/passwd",
         "/etc/passwd", "m/e", "tensor", "1" * 400, "é", "💥", "None", "\n\n"]  # fmt: skip
OTHERS = [None, True, False, [], {}, [[]], {"": None}, [1, "x", None], {"x": {"y": []}}]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of a JSON value and of all values inside it."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from places(item, (*path, i))


def at(value: Any, path: Path) -> Any:
    """The value at a path."""
    for key in path:
        value = value[key]
    return value


def hostile(draw: Random, old: Any) -> Any:
    """A value to put in the place of `old`: often one of the same kind, which gets further."""
    return deepcopy(_hostile(draw, old))  # no two places of a value share a list


def _hostile(draw: Random, old: Any) -> Any:
    if isinstance(old, bool) or old is None or draw.random() < 0.25:
        return draw.choice([*NUMBERS, *TEXTS, *OTHERS, nested(draw)])
    if isinstance(old, int | float):
        return draw.choice([*NUMBERS, old + 1, old - 1, -old, old * 1000, float(old), str(old)])
    if isinstance(old, str):
        cut = draw.randrange(len(old) + 1)
        return draw.choice([*TEXTS, old[:cut], old + "x", old[:cut] + "\ud912" + old[cut:]])
    if isinstance(old, list):
        return draw.choice([old * 2, old[:-1], old[::-1], [old], [*old, None], *OTHERS])
    return draw.choice([{**old, "unknown": 1}, {"x": old}, list(old), *OTHERS])


def nested(draw: Random) -> Any:
    """A value that is nested more deeply than any real one."""
    value: Any = None
    for _ in range(draw.choice([20, 40, 150])):
        value = [value] if draw.random() < 0.5 else {draw.choice(["dict", "x"]): value}
    return value


def mutated(draw: Random, value: Any, times: int | None = None) -> Any:
    """The JSON value with one to three changes: replaced, deleted, added, renamed, swapped."""
    value = deepcopy(value)
    for _ in range(times or draw.choice([1, 1, 1, 2, 3])):
        # shallow places first: most values lie deep in settings, where little depends on them
        found = list(places(value))
        depth = draw.randrange(1, 1 + max(map(len, found))) if len(found) > 1 else 0
        path = draw.choice([p for p in found if len(p) == depth] or found)
        if not path:
            value = hostile(draw, value)
            continue
        inside, key = at(value, path[:-1]), path[-1]
        change = draw.choice(["replace"] * 5 + ["delete", "add", "rename", "swap", "repeat"])
        if change == "replace":
            inside[key] = hostile(draw, inside[key])
        elif change == "delete":
            del inside[key]
        elif change == "swap":
            inside[key] = deepcopy(at(value, draw.choice(found)))
        elif isinstance(inside, list):
            inside.insert(key, deepcopy(inside[key]) if change == "repeat" else hostile(draw, None))
        elif change == "rename":
            inside[draw.choice([f"{key}x", str(key)[:-1], "", "unknown"])] = inside.pop(key)
        else:
            inside[draw.choice(["unknown", "", "\ud800", "0"])] = hostile(draw, inside[key])
    return value


def flipped(draw: Random, data: bytes, first: int, end: int) -> bytes:
    """The bytes with one bit flipped between two places."""
    place = draw.randrange(first, end)
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def spoiled(draw: Random, data: bytes) -> bytes:
    """The bytes cut off, doubled, with a piece missing, or with some of them at random."""
    change = draw.choice(["cut", "drop", "insert", "random", "double"])
    a = draw.randrange(len(data))
    b = min(len(data), a + draw.choice([1, 2, 8, 100]))
    if change == "cut":
        return data[:a]
    if change == "drop":
        return data[:a] + data[b:]
    if change == "insert":
        return data[:a] + draw.randbytes(b - a) + data[a:]
    return data[:a] + draw.randbytes(b - a) + data[b:] if change == "random" else data + data[a:]


# ---- safetensors files as bytes, without torch ---------------------------------------------------


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The table of a safetensors file, with the metadata in it, and the bytes of its tensors."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(table: dict[str, Any], tensors: bytes) -> bytes:
    """The file of a table and the bytes of its tensors."""
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


def with_header(draw: Random, data: bytes, key: str, header: Any) -> bytes:
    """The safetensors file with another JSON value in its metadata under `key`."""
    table, tensors = parts(data)
    text = json.dumps(header, ensure_ascii=draw.random() < 0.7)
    return joined({**table, "__metadata__": {key: text}}, tensors)


def header_of(data: bytes, key: str) -> Any:
    """The JSON value in a safetensors file's metadata, without the checksum."""
    found = json.loads(parts(data)[0]["__metadata__"][key])
    found.pop("sha256", None)
    return found


def numbers(draw: Random, data: bytes) -> bytes:
    """The bytes with a few aligned numbers of four bytes replaced by extreme ones."""
    found = bytearray(data)
    extreme = [b"\xff" * 4, bytes(4), *(struct.pack("<f", x) for x in (1e38, -1e38, 1e-40, 3.0))]
    extreme += [struct.pack("<f", x) for x in (float("nan"), float("inf"), -1.0)]
    for _ in range(draw.choice([1, 2, 10])):
        place = 4 * draw.randrange(len(found) // 4)
        found[place : place + 4] = draw.choice(extreme)
    return bytes(found)
