"""Work shared by several processes, each of which ends up with bit-equal results.

`torchrun` and `accelerate launch` start equal processes. Each holds the whole model and makes the
same calls in the same order. The reading of a batch is divided among them with `share`, and the
parts are exchanged with `gather`, `joined` and `total`. With a single process, everything here is
the identity.
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
    """The number of processes that share the work."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


def rank() -> int:
    """The number of this process, counted from 0."""
    return dist.get_rank() if world() > 1 else 0


def share(things: Sequence[T], of: int | None = None) -> Sequence[T]:
    """The things that process `of` works on (default this process): every world()-th of them."""
    return things[rank() if of is None else of :: world()]


@contextmanager
def alone() -> Iterator[None]:
    """In the body, this process does all of the work itself, whatever the others do meanwhile."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


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
    said = (str(failed) or type(failed).__name__) if failed else ""
    texts = gather(torch.tensor(list(said.encode()), dtype=torch.uint8))
    if failed and not isinstance(failed, kind):
        raise failed
    if words := [bytes(text.tolist()).decode() for text in texts if len(text)]:
        raise kind(words[0]) from failed


def gather(x: Tensor, sizes: Sequence[int] | None = None) -> list[Tensor]:
    """The x (…, n) of every process, in the order of the processes.

    n may differ between them; where it is known, `sizes` saves one exchange.
    """
    if world() == 1:
        return [x]
    mine = _sent(x)
    if sizes is None:
        sizes = [int(n) for n in gather(torch.tensor([x.shape[-1]]), [1] * world())]
    # all_gather wants equal shapes: every part is padded to the longest and cut again
    padded = mine.new_zeros(*x.shape[:-1], max(sizes))
    padded[..., : x.shape[-1]] = mine
    parts = [torch.empty_like(padded) for _ in sizes]
    if padded.numel():
        dist.all_gather(parts, padded)
    return [part[..., :n].to(x.device) for part, n in zip(parts, sizes, strict=True)]


def joined(x: Tensor, places: Sequence[Tensor]) -> Tensor:
    """The columns (…, n) of all processes together; places[r] says where those of r belong."""
    if world() == 1:
        return x
    order = torch.cat(list(places)).argsort()
    sizes = [len(place) for place in places]
    return torch.cat(gather(x, sizes), -1)[..., order.to(x.device)]


def total(x: Tensor) -> Tensor:
    """The sum of x over all processes, the same bits in each."""
    if world() == 1:
        return x
    found = _sent(x)
    dist.all_reduce(found)
    return found.to(x.device)


def of_first(x: Tensor) -> Tensor:
    """The first process's values of x.

    The copy has the strides of this process's x, because products of differently laid out tensors
    differ in their last bits.
    """
    if world() == 1:
        return x
    found = _sent(x)
    dist.broadcast(found, 0)
    return torch.empty_like(x).copy_(found)


def folder_of_first(folder: Path | None) -> tempfile.TemporaryDirectory:
    """A temporary folder with copies of the files that lie in the first process's `folder`.

    The other processes give None and may run on other machines. The lock file is not copied.
    """
    own = tempfile.TemporaryDirectory(prefix="run-")
    paths: list[Path] = []
    if folder is not None and rank() == 0:
        paths = sorted(p for p in folder.iterdir() if p.name != "lock")
    names = json.loads(_bytes(json.dumps([p.name for p in paths]).encode()))
    for i, name in enumerate(names):
        Path(own.name, name).write_bytes(_bytes(paths[i].read_bytes() if paths else b""))
    return own


def _bytes(content: bytes) -> bytes:
    """The first process's content, in every process."""
    size = int(of_first(torch.tensor([len(content)])))
    mine = torch.zeros(size, dtype=torch.uint8)
    if rank() == 0 and size:
        mine = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return of_first(mine).numpy().tobytes() if size else b""


def _sent(x: Tensor) -> Tensor:
    """A copy on a device that the processes can exchange from: NCCL wants this process's GPU."""
    nccl = dist.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
    return x.detach().to(device, copy=True).contiguous()


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
