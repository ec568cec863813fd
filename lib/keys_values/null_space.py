"""The null space of a layer's keys: the directions that general text hardly uses.

They are the eigenvectors of the keys' second moment C with small eigenvalues. A change of the
weights inside the null space leaves the layer's output on general text nearly unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..atomic_files import whole_file
from ..cancellation import raise_if_cancelled
from ..memory import NullSpace, null_space_of
from ..model.devices import on_card
from ..model.lm import LM
from .matrix_cache import kept
from .second_moment import stored_moments


def null_space(
    lm: LM,
    layers: Sequence[int],
    threshold: float | None = 2e-2,
    quantile: float | None = None,
    text: str | Path | None = None,
    tokens: int | None = None,
    skip_first: bool | None = None,
    *,
    among: Sequence[int] = (),
) -> dict[int, NullSpace]:
    """{layer: the null space of its keys}, float64, from C without damping.

    threshold and quantile are those of `memory.null_space_of`, and text, tokens, skip_first and
    among are those of `second_moment`. The eigenvectors of C, which take seconds per layer for the
    default model, are cached as C is.
    """
    wanted = list(dict.fromkeys((*layers, *among)))
    paths, _, _ = stored_moments(lm, wanted, text, tokens, skip_first)
    found = {}
    for layer in layers:
        raise_if_cancelled()
        found[layer] = null_space_of(
            *eigen(str(paths[layer]), lm.device), threshold=threshold, quantile=quantile
        )
    return found


@kept
def eigen(path: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors of C, float64; computed on the device if missing."""
    stored = Path(path).with_suffix(".eigen.safetensors")
    if not stored.exists():
        C = load_file(path)["C"].double()
        try:  # minutes on a CPU where a layer is 14,336 wide
            found = torch.linalg.eigh(C.to(device) if on_card(device) else C)
        except torch.OutOfMemoryError:  # it needs about 7 GB there, beside the model
            found = torch.linalg.eigh(C)
        values, vectors = (part.cpu() for part in found)
        with whole_file(stored) as part:
            save_file({"values": values, "vectors": vectors.contiguous()}, part)
    parts = load_file(stored)
    return parts["values"], parts["vectors"]
