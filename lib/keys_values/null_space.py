"""The null space of a layer's keys: the directions that general text hardly uses.

They are the eigenvectors of the keys' second moment C with small eigenvalues. A change of the
weights inside the null space leaves the layer's output on general text nearly unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..cancellation import raise_if_cancelled
from ..memory import NullSpace, null_space_of
from ..model.devices import on_card
from ..model.lm import LM
from ..stored import Stored, Tensors, remembered, stored
from .second_moment import stored_moments


def null_space(
    lm: LM,
    layers: Sequence[int],
    threshold: float | None = 2e-2,
    quantile: float | None = None,
    text: str | Path | None = None,
    tokens: int | None = None,
    *,
    among: Sequence[int] = (),
) -> dict[int, NullSpace]:
    """{layer: the null space of its keys}, float64, from C without damping.

    threshold and quantile are those of `memory.null_space_of`, and text, tokens and among
    are those of `second_moment`. The eigenvectors of C, which take seconds per layer for the
    default model, are cached as C is.
    """
    wanted = list(dict.fromkeys((*layers, *among)))
    moments = stored_moments(lm, wanted, text, tokens, None)
    found = {}
    for layer in layers:
        raise_if_cancelled()
        found[layer] = null_space_of(
            *eigen(moments[layer], lm.device), threshold=threshold, quantile=quantile
        )
    return found


def eigen(moment: Stored, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors of C, float64; computed on the device if missing."""

    def make() -> Tensors:
        C = moment.tensors()["C"].double()
        try:  # minutes on a CPU where a layer is 14,336 wide
            found = torch.linalg.eigh(C.to(device) if on_card(device) else C)
        except torch.OutOfMemoryError:  # it needs about 7 GB there, beside the model
            found = torch.linalg.eigh(C)
        values, vectors = (part.cpu() for part in found)
        return {"values": values, "vectors": vectors.contiguous()}

    kept = remembered(("eigen", moment), partial(stored, "eigen", moment.label, make))
    return kept["values"], kept["vectors"]
