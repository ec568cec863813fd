"""The wire between the grader and student code: it carries JSON and raw numbers, never code.

A frame consists of the run's secret token, a length, and JSON. Tensors are sent as type, shape, and
bytes. Student code can send anything, but the worst result is an error when reading it (`Garbled`).
A frame's bytes are limited before it is read, and its values before it is parsed, so that refusing
it costs no more than reading a right answer. msgspec parses messages and checks their fields and
types.

child.py starts without the packages of this repository, so this file imports none of them.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import linecache
import math
import os
import select
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import torch

TOKEN = 16  # bytes
LARGEST = 64 << 10  # bytes of a frame that student code sends, 25 times the largest right answer
TASK = 32 << 20  # bytes of a frame that the grader sends
VALUES = 5_000  # values in such a frame, where a tensor is one; right answers have up to 109
DEPTH = 32  # lists in lists
FILE = 4 << 20  # bytes of a file that student code writes, such as its output
TEXT = 400  # characters of an error's text
NOT_CLOSED = "the sandbox is not closed"  # in place of an error's type: the file was not run
TYPES = {
    str(t).removeprefix("torch."): t
    for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    + (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
}


class Garbled(Exception):
    """The bytes from the pipe are not a frame of this run."""


class Foreign(TypeError):
    """A value that may not pass, such as an object of the student's own class."""


class Failure(msgspec.Struct, forbid_unknown_fields=True):
    """An error in student code: its type, its text, and the line in the file."""

    type: str
    text: str
    line: int | None = None
    code: str = ""
    foreign: bool = False
    functions: list[str] = []  # functions of the file that were running


class Task(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message from the grader: a file, a call of one of its functions, or a query's answer."""

    source: str | None = None
    call: str | None = None
    args: list = []
    value: Any = None
    error: str | None = None


class Answer(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message from student code: a value, a failure, or a query of one of the grader's functions.

    `changed` names an argument that the call has changed in place.
    """

    value: Any = None
    changed: str | None = None
    error: Failure | None = None
    query: int | None = None
    args: list = []


Message = TypeVar("Message", Task, Answer)


def pack(value: Any, functions: list[Callable] | None = None) -> Any:
    """The value in a form that JSON can hold; callables are added to `functions` and numbered.

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
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}  # JSON has no such numbers
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


def unpack(
    value: Any, function: Callable[[int], Callable] | None = None, depth: int = DEPTH
) -> Any:
    """The value in its original form, or Garbled; `function` turns a number into a callable.

    Tuples become lists. Lists can be nested `depth` times.
    """
    if depth < 0:
        raise Garbled(f"more than {DEPTH} lists in each other")
    if isinstance(value, list):
        return [unpack(item, function, depth - 1) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"float": ("nan" | "inf" | "-inf") as text}:
            return float(text)
        case {"tensor": [str(kind), list(shape), str(data)]} if kind in TYPES:
            try:
                if any(not isinstance(n, int) or n < 0 for n in shape):
                    raise ValueError(shape)
                raw = bytearray(base64.b64decode(data, validate=True))
                numbers = torch.frombuffer(raw, dtype=TYPES[kind]) if raw else torch.zeros(0)
                return numbers.to(TYPES[kind]).reshape(shape)
            except (ValueError, RuntimeError, TypeError, OverflowError, binascii.Error) as error:
                raise Garbled(f"a tensor that does not fit its shape: {error}") from None
        case {"dict": list(items)} if all(isinstance(i, list) and len(i) == 2 for i in items):
            try:
                return {
                    unpack(key, None, depth - 1): unpack(item, function, depth - 1)
                    for key, item in items
                }
            except TypeError:
                raise Garbled("a dict with unhashable keys") from None
        case {"function": int(number)} if function is not None:
            return function(number)
    raise Garbled("JSON of an unknown form")


def changed(called: Callable, args: list, packed: list) -> str | None:
    """The name of an argument that a call has changed in place, or None."""
    code = getattr(inspect.unwrap(called), "__code__", None)
    functions: list[Callable] = []
    for at, (arg, came) in enumerate(zip(args, packed, strict=True)):
        try:
            same = pack(arg, functions) == came
        except Foreign:
            same = False
        if not same:
            named = code is not None and at < code.co_argcount
            return code.co_varnames[at] if named else f"number {at + 1}"
    return None


def failure(error: BaseException, name: str) -> Failure:
    """An error, and its line in the student's file, which is called `name`."""
    line, trace, functions = None, error.__traceback__, set()
    if isinstance(error, SyntaxError) and error.filename == name:
        line = error.lineno
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
            functions.add(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        text = ""
    text = text[:TEXT].encode(errors="replace").decode()
    code = linecache.getline(name, line).strip()[:TEXT] if line else ""
    foreign = isinstance(error, Foreign)
    return Failure(type(error).__name__, text, line, code, foreign, sorted(functions)[:DEPTH])


def encoded(message: Task | Answer, largest: int = LARGEST) -> bytes:
    """A message as JSON. Raises Foreign if it is larger than the other side accepts.

    A Task has at most TASK bytes, an Answer at most `largest`.
    """
    try:
        text = msgspec.json.encode(message)
    except UnicodeEncodeError:
        raise Foreign("text with half of a character (a lone surrogate)") from None
    if isinstance(message, Answer):
        _bounded(text, largest)
    elif len(text) > TASK:
        raise Foreign(f"{len(text) >> 20} MB at once")
    return text


def send(
    pipe: int,
    token: bytes,
    message: Task | Answer,
    wait: Callable[[], None] | None = None,
    largest: int = LARGEST,
) -> None:
    """Write one frame, whose values are already in JSON's form (`pack`).

    On a pipe that doesn't block, `wait` is called until the other side reads. Raises Foreign, as
    `encoded` does.
    """
    text = encoded(message, largest)
    frame = memoryview(token + struct.pack(">Q", len(text)) + text)
    while frame:
        try:
            frame = frame[os.write(pipe, frame) :]
        except BlockingIOError:
            wait()
            select.select([], [pipe], [], 0.1)


def receive(
    pipe: int,
    token: bytes,
    kind: type[Message],
    wait: Callable[[], None] | None = None,
    largest: int = LARGEST,
) -> Message | None:
    """The next frame as a message of this kind, or None at the end. Raises Garbled.

    `wait` is called repeatedly and may raise an error. An Answer has at most `largest` bytes.
    """
    head = _read(pipe, TOKEN + 8, wait)
    if head is None:
        return None
    length = struct.unpack(">Q", head[TOKEN:])[0]
    if head[:TOKEN] != token:
        raise Garbled("a frame without this run's token")
    if length > (largest if kind is Answer else TASK):
        raise Garbled(f"{length} bytes at once, but an answer has at most {largest}")
    text = _read(pipe, length, wait)
    if text is None:
        return None
    try:
        if kind is Answer:
            _bounded(text, largest)
        return msgspec.json.decode(text, type=kind)
    except Foreign as error:
        raise Garbled(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Garbled("no message in JSON") from None


def _bounded(text: bytes, largest: int) -> None:
    """Raise Foreign if there are too many bytes or values; commas in texts also count."""
    if len(text) > largest:
        raise Foreign(f"{len(text) >> 10} kB at once")
    if sum(map(text.count, (b",", b"[", b"{"))) > VALUES:
        raise Foreign(f"more than {VALUES} values at once (a tensor counts as one)")


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
