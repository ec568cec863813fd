"""Several processes, one turn: each reads some of its loss groups, all of them hold the same bits.

`torchrun` and `accelerate launch` start equal processes, each with the whole model, that make the
same calls in the same order; what they compute together goes through here. Where there is one
process, everything here is the identity.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def world() -> int:
    """How many processes share the work."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


def rank() -> int:
    """The number of this one, from 0."""
    return dist.get_rank() if world() > 1 else 0


def share(things: Sequence[T], of: int | None = None) -> Sequence[T]:
    """Those that process `of` works on, by default this one."""
    return things[rank() if of is None else of :: world()]


@contextmanager
def alone() -> Iterator[None]:
    """In the body, one process does everything itself, whatever the others do meanwhile."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


@contextmanager
def together(kind: type[Exception]) -> Iterator[None]:
    """A body that fails in one process fails in all of them: nobody waits for who is gone.

    Raises `kind` with the words of the first that failed.
    """
    if world() == 1:
        yield
        return
    failed = None
    try:
        yield
    except Exception as error:
        failed = error
    said = f"{failed or type(failed).__name__}" if failed else ""
    texts = gather(torch.tensor(list(said.encode()), dtype=torch.uint8))
    if failed and not isinstance(failed, kind):
        raise failed
    if words := [bytes(text.tolist()).decode() for text in texts if len(text)]:
        raise kind(words[0]) from failed


def gather(x: Tensor, sizes: Sequence[int] | None = None) -> list[Tensor]:
    """The x (…, n) of every process, in their order; n may differ, `sizes` saves asking for it."""
    if world() == 1:
        return [x]
    mine = _sent(x)
    if sizes is None:
        sizes = [int(n) for n in gather(torch.tensor([x.shape[-1]]), [1] * world())]
    padded = mine.new_zeros(*x.shape[:-1], max(sizes))
    padded[..., : x.shape[-1]] = mine
    parts = [torch.empty_like(padded) for _ in sizes]
    if padded.numel():
        dist.all_gather(parts, padded)
    return [part[..., :n].to(x.device) for part, n in zip(parts, sizes, strict=True)]


def joined(x: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Columns (…, n) of all processes in their right order; places[r]: where those of r belong."""
    if world() == 1:
        return x
    order = torch.cat(list(places)).argsort()
    return torch.cat(gather(x, list(map(len, places))), -1)[..., order.to(x.device)]


def total(x: Tensor) -> Tensor:
    """The sum of x over all processes, the same bits in each."""
    if world() == 1:
        return x
    found = _sent(x)
    dist.all_reduce(found)
    return found.to(x.device)


def of_first(x: Tensor) -> Tensor:
    """The first process's x, laid out in memory as it is here: last bits of products hang on it."""
    if world() == 1:
        return x
    found = _sent(x)
    dist.broadcast(found, 0)
    return torch.empty_like(x).copy_(found)


def folder_of_first(folder: Path | None) -> tempfile.TemporaryDirectory:
    """The files of a folder that the first process names, in a folder of this process's own."""
    own = tempfile.TemporaryDirectory(prefix="run-")
    paths = sorted(p for p in folder.iterdir() if p.name != "lock") if rank() == 0 else []
    names = json.loads(_bytes(json.dumps([p.name for p in paths]).encode()))
    for i, name in enumerate(names):
        Path(own.name, name).write_bytes(_bytes(paths[i].read_bytes() if paths else b""))
    return own


def _bytes(content: bytes) -> bytes:
    """The first process's content."""
    size = int(of_first(torch.tensor([len(content)])))
    mine = torch.zeros(size, dtype=torch.uint8)
    if rank() == 0 and size:
        mine = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return of_first(mine).numpy().tobytes() if size else b""


def _sent(x: Tensor) -> Tensor:
    """A copy where the processes can exchange it: NCCL knows only this process's own GPU."""
    nccl = dist.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
    return x.detach().to(device, copy=True).contiguous()


@contextmanager
def started() -> Iterator[Any]:
    """Join the processes that `torchrun` started, if it did; gives this one's `device_map`.

    It is None where there is no GPU, and where this is the only process.
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
