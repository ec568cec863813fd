"""Identifying a model's weights, and detecting changes since the last check."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .quantized import is_quantized, plain

FEW = 8  # compared entries of each parameter


def fingerprint(model: nn.Module) -> str:
    """Return a hash of shapes and some entries of all parameters, equal in bf16 and float32.

    A quantized parameter counts as different, even if nothing is rounded.
    """
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        few = plain(p.detach()).flatten()[:: max(1, p.numel() // 64)][:64]
        kind = type(p).__name__ if is_quantized(p) else ""
        digest.update(f"{name}{tuple(p.shape)}{kind}".encode())
        digest.update(few.to(torch.bfloat16).view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class Seen:
    """Parameters at one moment, for comparing with the present ones in a millisecond.

    A hash of all weights would cost more than a small edit. An optimizer's step and
    `load_state_dict` increase a tensor's version, and `to` or a new module brings different
    storage. Code writing through `.data`, such as peft when merging an adapter, changes neither, so
    a few entries of each parameter are also stored.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        parameters = list(parameters)
        self._places = list(map(_place, parameters))
        rows: dict[Any, list[Tensor]] = defaultdict(list)
        for p in parameters:
            if p.numel() and not is_quantized(p):
                rows[p.device, p.dtype].append(_row(p.detach()))
        # views: they also keep the storage, so that no other tensor gets its address
        self._rows = list(rows.values())
        self._values = list(map(torch.cat, self._rows))

    def still(self, parameters: Iterable[Tensor]) -> bool:
        """Return whether these are the same parameters with the same entries."""
        return self._places == list(map(_place, parameters)) and all(
            map(torch.equal, map(torch.cat, self._rows), self._values)
        )


def parameters(module: nn.Module) -> Iterator[Tensor]:
    """Yield all parameters, shared ones repeatedly: four times as fast as `parameters`."""
    yield from filter(lambda p: p is not None, module._parameters.values())
    for child in module._modules.values():
        if child is not None:
            yield from parameters(child)


def _place(p: Tensor) -> tuple[int, int, torch.dtype]:
    """Return storage (for a quantized one, which has several, the object), version and type."""
    version = 0 if p.is_inference() else p._version  # inference tensors have no version
    return id(p) if is_quantized(p) else p.data_ptr(), version, p.dtype


def _row(p: Tensor) -> Tensor:
    """Return a few entries from the middle of a parameter, as a view."""
    while p.dim() > 1:
        p = p[len(p) // 2]
    return p.reshape(-1)[:FEW]
