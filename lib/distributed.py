"""Sharing work among several processes, with each of them getting bit-equal results.

`torchrun` and `accelerate launch` start equal processes. Each holds the whole model and makes the
same calls in the same order. Reading a batch is divided among them using `share`, and `joined`
gives every process the results of all. With a single process, everything here is the identity.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .cancellation import during

T = TypeVar("T")
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def world() -> int:
    """Return the number of processes sharing the work."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


def rank() -> int:
    """Return the number of this process, counted from 0."""
    return dist.get_rank() if world() > 1 else 0


def share(things: Sequence[T]) -> Sequence[T]:
    """Return this process's things: a run of them, about as long as the other processes' runs."""
    n, at, of = len(things), rank(), world()
    return things[n * at // of : n * (at + 1) // of]


def alone() -> AbstractContextManager[None]:
    """Make this process do all of the work itself within the body, independently of the others."""
    return during(_ALONE, True)


@contextmanager
def together(kind: type[Exception]) -> Iterator[None]:
    """Let an error in one process end the body in all, so that none keeps waiting.

    Raises `kind` with the message of the first failing process.
    """
    if world() == 1:
        yield
        return
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    # every process sends its error's message to the others; an empty message means no error
    texts = _all((str(failed) or type(failed).__name__) if failed else "")
    if failed and not isinstance(failed, kind):
        raise failed
    if words := next(filter(None, texts), None):
        raise kind(words) from failed


def joined(x: Tensor) -> Tensor:
    """Return the columns (…, n) of all processes, in the order of the processes; n may differ."""
    return x if world() == 1 else torch.cat(_all(_plain(x)), -1).to(x.device)


def of_first(x: Tensor) -> Tensor:
    """Return the first process's values of x.

    The copy has the strides of this process's x, because products of tensors with different layouts
    differ in their last bits.
    """
    return x if world() == 1 else torch.empty_like(x).copy_(_first(_plain(x)))


def folder_of_first(folder: Path | None) -> tempfile.TemporaryDirectory:
    """Return a temporary folder with copies of the files in the first process's `folder`.

    The other processes pass None and may run on other machines. The lock file is not copied.
    """
    files = (
        {}
        if folder is None
        else {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "lock"}
    )
    own = tempfile.TemporaryDirectory(prefix="run-")
    for name, content in _first(files).items():
        Path(own.name, name).write_bytes(content)
    return own


def _all(value: Any) -> list[Any]:
    """Return the value of every process, in the order of the processes."""
    found = [None] * world()
    dist.all_gather_object(found, value)
    return found


def _first(value: T) -> T:
    """Return the first process's value, in every process."""
    box = [value]
    dist.broadcast_object_list(box, 0)
    return box[0]


def _plain(x: Tensor) -> Tensor:
    """Return a copy of only x, because sending a view would send its whole storage."""
    return x.detach().to("cpu", copy=True).contiguous()


@contextmanager
def started() -> Iterator[Any]:
    """Join the processes started by `torchrun` for the body, yielding the `device_map` here.

    The map puts the model on this process's GPU. It is None without a GPU, and if this is the only
    process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield None
        return
    cuda, place = torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(place)
    own = torch.device("cuda", place) if cuda else None
    dist.init_process_group("nccl" if cuda else "gloo", device_id=own)
    try:
        yield {"": place} if cuda else None
    finally:
        dist.destroy_process_group()
