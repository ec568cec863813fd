"""Work shared by several processes, each of which ends up with bit-equal results.

`torchrun` and `accelerate launch` start equal processes. Each holds the whole model and makes the
same calls in the same order. The reading of a batch is divided among them with `share`, and
`joined` gives all of them what each has read. With a single process, everything here is the
identity.
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
    """The number of processes that share the work."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


def rank() -> int:
    """The number of this process, counted from 0."""
    return dist.get_rank() if world() > 1 else 0


def share(things: Sequence[T]) -> Sequence[T]:
    """The things that this process works on: a run of them, about as long as the others' runs."""
    n, at, of = len(things), rank(), world()
    return things[n * at // of : n * (at + 1) // of]


def alone() -> AbstractContextManager[None]:
    """In the body, this process does all of the work itself, whatever the others do meanwhile."""
    return during(_ALONE, True)


@contextmanager
def together(kind: type[Exception]) -> Iterator[None]:
    """A body that fails in one process fails in all, so that none waits for one that has ended.

    Raises `kind` with the message of the first process that failed.
    """
    if world() == 1:
        yield
        return
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    # every process tells the others its error's message; an empty one means that none occurred
    texts = _all((str(failed) or type(failed).__name__) if failed else "")
    if failed and not isinstance(failed, kind):
        raise failed
    if words := next(filter(None, texts), None):
        raise kind(words) from failed


def joined(x: Tensor) -> Tensor:
    """The columns (…, n) of all processes, in the order of the processes; n may differ."""
    return x if world() == 1 else torch.cat(_all(_plain(x)), -1).to(x.device)


def of_first(x: Tensor) -> Tensor:
    """The first process's values of x.

    The copy has the strides of this process's x, because products of differently laid out tensors
    differ in their last bits.
    """
    return x if world() == 1 else torch.empty_like(x).copy_(_first(_plain(x)))


def folder_of_first(folder: Path | None) -> tempfile.TemporaryDirectory:
    """A temporary folder with copies of the files that lie in the first process's `folder`.

    The other processes give None and may run on other machines. The lock file is not copied.
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
    """The value of every process, in the order of the processes."""
    found = [None] * world()
    dist.all_gather_object(found, value)
    return found


def _first(value: T) -> T:
    """The first process's value, in every process."""
    box = [value]
    dist.broadcast_object_list(box, 0)
    return box[0]


def _plain(x: Tensor) -> Tensor:
    """A copy of x alone: sending a view would send all that it looks into."""
    return x.detach().to("cpu", copy=True).contiguous()


@contextmanager
def started() -> Iterator[Any]:
    """Join the processes that `torchrun` started, for the body, and give the `device_map` here.

    The map puts the model on this process's GPU. It is None without a GPU, and where this is the
    only process.
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
