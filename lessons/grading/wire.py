"""The wire between grader and student code: JSON and raw numbers pass, nothing that can run.

A frame is the run's secret token, a length, and JSON. Tensors travel as type, shape and bytes. The
student's side can send whatever it likes here; the worst that happens is that reading it fails
(`Garbled`).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import select
import struct
from collections.abc import Callable
from typing import Any

import torch

TOKEN = 16  # bytes
LARGEST = 32 << 20  # bytes of a frame
TYPES = {
    str(t).removeprefix("torch."): t
    for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    + (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
}


class Garbled(Exception):
    """The bytes that came through the pipe are no frame of this run."""


class Foreign(TypeError):
    """A value that may not pass, such as an object of the student's own class."""


def pack(value: Any, functions: list[Callable] | None = None) -> Any:
    """The value as JSON can hold it; callables are put into `functions` and passed by number.

    Raises Foreign for any other type. (1, [2.5]) -> [1, [2.5]]
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in TYPES:
            raise Foreign(f"a tensor of {kind}")
        raw = value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        return {"tensor": [kind, list(value.shape), base64.b64encode(raw).decode()]}
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (list, tuple)):
        return [pack(item, functions) for item in value]
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item, functions)] for key, item in value.items()]}
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        return pack(torch.as_tensor(value.tolist()), functions)
    if callable(value) and functions is not None:
        functions.append(value)
        return {"function": len(functions) - 1}
    raise Foreign(f"a {type(value).__name__}")


def unpack(value: Any, function: Callable[[int], Callable] | None = None) -> Any:
    """The value again; `function` makes a callable of its number. Raises Garbled.

    Tuples come back as lists.
    """
    if isinstance(value, list):
        return [unpack(item, function) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"tensor": [str(kind), list(shape), str(data)]} if kind in TYPES:
            try:
                if any(not isinstance(n, int) or n < 0 for n in shape):
                    raise ValueError(shape)
                raw = bytearray(base64.b64decode(data, validate=True))
                numbers = torch.frombuffer(raw, dtype=TYPES[kind]) if raw else torch.zeros(0)
                return numbers.to(TYPES[kind]).reshape(shape)
            except (ValueError, RuntimeError, TypeError, binascii.Error) as error:
                raise Garbled(f"a tensor that does not fit its shape: {error}") from None
        case {"dict": list(items)} if all(isinstance(i, list) and len(i) == 2 for i in items):
            try:
                return {unpack(key): unpack(item, function) for key, item in items}
            except TypeError:
                raise Garbled("a dict with keys that are none") from None
        case {"function": int(number)} if function is not None:
            return function(number)
    raise Garbled("JSON of an unknown form")


def send(pipe: int, token: bytes, message: dict, wait: Callable[[], None] | None = None) -> None:
    """Writes one frame; the message is JSON already (`pack`).

    On a pipe that does not block, `wait` is called while the other side does not read.
    """
    text = json.dumps(message).encode()
    if len(text) > LARGEST:
        raise Foreign(f"{len(text) >> 20} MB at once")
    frame = memoryview(token + struct.pack(">Q", len(text)) + text)
    while frame:
        try:
            frame = frame[os.write(pipe, frame) :]
        except BlockingIOError:
            wait()
            select.select([], [pipe], [], 0.1)


def receive(pipe: int, token: bytes, wait: Callable[[], None] | None = None) -> dict | None:
    """The next frame, None at the end. `wait` is called again and again and may raise."""
    head = _read(pipe, TOKEN + 8, wait)
    if head is None:
        return None
    length = struct.unpack(">Q", head[TOKEN:])[0]
    if head[:TOKEN] != token or length > LARGEST:
        raise Garbled("a frame without this run's token")
    text = _read(pipe, length, wait)
    if text is None:
        return None
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Garbled("no JSON") from None
    if not isinstance(message, dict):
        raise Garbled("no message")
    return message


def _read(pipe: int, length: int, wait: Callable[[], None] | None) -> bytes | None:
    found = bytearray()
    while len(found) < length:
        while wait is not None:
            wait()
            if select.select([pipe], [], [], 0.1)[0]:
                break
        piece = os.read(pipe, min(length - len(found), 1 << 20))
        if not piece:
            return None
        found += piece
    return bytes(found)
