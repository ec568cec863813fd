"""A safetensors file with one JSON header: written as a whole, and never trusted when reading.

Patches and trained networks are such files. Their tensors have names, and everything else is one
JSON object in the file's metadata. Two mechanisms protect a reader. The header is decoded using a
schema (a `Schema` below), rejecting wrong types, numbers out of range and unknown keys before
building anything from them. And the last entry of the header is a checksum of the whole content of
the file, making it possible to detect a damaged number. Files from before the checksum are read
without it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import torch
from msgspec import UNSET, Meta, Struct, UnsetType, field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import errors
from ..atomic_files import digest, whole_file

SEALED = re.compile(r', "sha256": "([0-9a-f]{64})"\}\Z')  # the end of a header with a checksum
DEPTH = 32  # of nested settings and states; none of ours is deeper than ten
LARGEST = 1e30  # of a threshold or factor: float32 has a larger range, keeping products finite

Count = Annotated[int, Meta(ge=0, le=1 << 40)]  # a number of things, or the index of one
Size = Annotated[int, Meta(ge=1, le=1 << 40)]  # a positive number of things
Long = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # a 64-bit number
TokenId = Annotated[int, Meta(ge=0, lt=1 << 31)]
Real = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]  # a finite number
# part of a tensor's name, and a text quoted by messages
Name = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\A[^/\s]*\Z")]
Line = Annotated[str, Meta(max_length=500, pattern=r"\A[^\r\n]*\Z")]


class Schema(Struct, forbid_unknown_fields=True):
    """The required form of a header, or of a part of it; unknown keys are rejected."""


class _Numbered(Struct):
    """The format number in a header of any format."""

    format: int


class Packed(Schema):
    """A nested state as written by `atomic_files.pack`: exactly one of these four is given.

    tensor  the name of a tensor, which is the path of this place in the state
    items   a sequence, `tuple` in the file
    parts   a mapping, `dict` in the file
    value   a number, a text, true, false or null
    """

    tensor: str | UnsetType = UNSET
    items: list[Packed] | UnsetType = field(default=UNSET, name="tuple")
    parts: dict[str, Packed] | UnsetType = field(default=UNSET, name="dict")
    value: str | Long | float | bool | None | UnsetType = UNSET

    def __post_init__(self) -> None:
        given = (self.tensor, self.items, self.parts, self.value)
        if sum(part is not UNSET for part in given) != 1:
            raise ValueError("a state is exactly one of tensor, tuple, dict and value")


T = TypeVar("T")


def decode(text: str, schema: type[T]) -> T:
    """Return a JSON text decoded using the schema; ValueError names the place of a mismatch.

    In addition to JSON, the words NaN and Infinity are accepted, since Python's own writer uses
    them.
    """
    try:
        return msgspec.json.decode(text, type=schema)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if not re.search(r"\b(NaN|Infinity)\b", text):
            raise
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode()  # rejects half characters, like the other way
    return msgspec.convert(value, schema)


def sentence(error: BaseException) -> str:
    """Return the message of a reading error, on one line of bounded length, to follow a colon."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, MemoryError | RecursionError):
        return "it announces more than it contains, or is nested too deeply"
    text = errors.sentence(error)
    text = re.sub(r" - at `(?:key in )?\$\.?(.+)`$", r" at `\1`", text)
    return f"{text[:1].lower()}{text[1:]}" if len(text) <= 300 else f"{text[:300]} …"


def setting(value: Any, place: str, depth: int = 0) -> Any:
    """Return a JSON value with tuples instead of its lists, since settings are tuples in a log.

    Raises ValueError, naming the place, for values that a file cannot store: NaN, a number of more
    than 64 bits, and deeply nested values.
    """
    if depth > DEPTH:
        raise ValueError(f"`{place}` is nested too deeply")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"`{place}` is NaN")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"`{place}` is a number of more than 64 bits")
    if isinstance(value, dict):
        return {k: setting(item, f"{place}.{k}", depth + 1) for k, item in value.items()}
    if isinstance(value, list):
        return tuple(setting(item, place, depth + 1) for item in value)
    return value


def unpack(
    packed: Packed, path: str, tensors: Mapping[str, Tensor], used: set[str], depth: int = 0
) -> Any:
    """Return the state that `atomic_files.pack` took apart at `path`; sequences become tuples.

    The names of its tensors are added to `used`. Raises ValueError if a tensor is missing or does
    not belong to its place, or the state is nested too deeply: a single tensor named in many places
    would be written many times when the state is saved again.
    """
    if depth > DEPTH:
        raise ValueError("a state is nested too deeply")
    if packed.tensor is not UNSET:
        if packed.tensor != path or path not in tensors:
            raise ValueError(f"the state at `{path}` does not have its own tensor")
        used.add(path)
        return tensors[path]
    if not isinstance(packed.items, UnsetType):
        return tuple(
            unpack(item, f"{path}/{i}", tensors, used, depth + 1)
            for i, item in enumerate(packed.items)
        )
    if not isinstance(packed.parts, UnsetType):
        return {
            key: unpack(item, f"{path}/{key}", tensors, used, depth + 1)
            for key, item in packed.parts.items()
        }
    return packed.value


def check_names(what: str, tensors: Collection[str], names: Collection[str]) -> None:
    """Raise ValueError, naming `what`, unless the tensors have exactly these names."""
    if set(tensors) != set(names):
        odd = sorted(set(tensors) ^ set(names))[0]
        raise ValueError(f"{what} {'has' if odd in tensors else 'lacks'} a tensor '{odd}'")


def check_tensor(what: str, tensor: Tensor, shape: tuple[int, ...], *types: torch.dtype) -> None:
    """Raise ValueError, naming `what`, unless a tensor has this shape and one of the types.

    Numbers with a fraction have to be finite. In the shape, -1 means any size.
    """
    fits = len(shape) == tensor.ndim and all(
        wanted in (-1, size) for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size < 0 else str(size) for size in shape)
        raise ValueError(f"{what} has the shape {tuple(tensor.shape)}, but should have ({wanted})")
    if tensor.dtype not in types:
        raise ValueError(f"{what} contains {tensor.dtype} numbers".replace("torch.", ""))
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{what} contains NaN or infinite numbers")


# ---- the file ------------------------------------------------------------------------------------


def write(
    path: Path,
    key: str,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    schema: type[Schema],
    kind: type[errors.Error],
) -> Path:
    """Write tensors, and under `key` the header with their checksum; return the path.

    The file is either whole or missing. Raises an error of this kind for a header that no reader
    would accept.
    """
    try:
        text = json.dumps(header, ensure_ascii=False)
        text.encode()
        decode(text, schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise kind(f"This {key} cannot be saved: {sentence(error)}") from None
    # safetensors rejects tensors sharing storage, as later patches do
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    sealed = f'{text[:-1]}, "sha256": "{digest(text, tensors)}"}}'
    with whole_file(path) as part:
        save_file(tensors, part, metadata={key: sealed})
    return path


def read(path: Path, key: str) -> tuple[str, dict[str, Tensor], int]:
    """Return the header's text under `key`, the tensors by name, and the format's number.

    Raises any kind of error if they are missing.
    """
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {})[key]
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return text, tensors, decode(text, _Numbered).format


def checked(text: str, tensors: Mapping[str, Tensor], schema: type[Any]) -> Any:
    """Return the header decoded using its schema; ValueError if its checksum is wrong.

    Files from before the checksum have none.
    """
    seal = SEALED.search(text)
    if seal is not None and digest(f"{text[: seal.start()]}}}", tensors) != seal[1]:
        raise ValueError("its content does not match its checksum")
    header = decode(text, schema)
    if header.sha256 is not UNSET and seal is None:
        raise ValueError("its checksum is in the wrong place")
    return header


def bytes_of(value: Any) -> int:
    """Return the bytes of the tensors in a sequence, a mapping, or an object's attributes."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    parts = (
        value.values() if isinstance(value, Mapping) else getattr(value, "__dict__", {}).values()
    )
    return sum(map(bytes_of, value if isinstance(value, tuple | list) else parts))
