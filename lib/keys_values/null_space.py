"""The null space of a layer's keys, containing the directions that general text barely uses.

These are the eigenvectors of the keys' second moment C with small eigenvalues. Changing the weights
only inside the null space leaves the layer's output on general text almost unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ..associative_memory import NullSpace, null_space_of
from ..cancellation import steps
from ..computed_once import CachedTensors, Tensors, make_missing
from ..model.devices import on_card
from ..model.lm import LM
from .curvature import Eigen
from .general_text import Text
from .second_moment import shrunk, stored_moments, warn_of_few


def null_space(
    lm: LM,
    layers: Sequence[int],
    threshold: float | None = 2e-2,
    quantile: float | None = None,
    text: Text = None,
    tokens: int | None = None,
) -> dict[int, NullSpace]:
    """Return {layer: the null space of its keys}, float64, using C without damping.

    For threshold and quantile, see `memory.null_space_of`; for text and tokens, see
    `second_moment`. The eigenvectors of C, which take seconds per layer for the default model, are
    cached like C.
    """
    moments = stored_moments(lm, layers, text, tokens)
    make_missing(moments.values())
    return {
        layer: null_space_of(*eigen(lm, moments[layer]), threshold=threshold, quantile=quantile)
        for layer in steps(layers, "null spaces")
    }


def eigen(lm: LM, moment: CachedTensors) -> Eigen:
    """Return eigenvalues (ascending) and eigenvectors of C, float64, computing missing ones.

    They are computed on the device of C.
    """
    kept = lm.once(("eigen", moment), stored_eigen(moment, lm.device).tensors)
    warn_of_few(kept, len(kept["values"]))
    return kept["values"], kept["vectors"]


def stored_eigen(moment: CachedTensors, device: torch.device) -> CachedTensors:
    """Return the same for one of `stored_moments`, as it is or will be stored."""

    def make(layers: list[int]) -> Iterator[tuple[int, Tensors]]:
        for layer in steps(layers, f"eigenvectors of {len(layers)} second moments"):
            held = replace(moment, key=layer).tensors()
            C = shrunk(held)
            try:  # minutes on a CPU for a 14,336-wide layer
                found = torch.linalg.eigh(C.to(device) if on_card(device) else C)
            except torch.OutOfMemoryError:  # it needs about 7 GB there, in addition to the model
                found = torch.linalg.eigh(C)
            values, vectors = (part.cpu() for part in found)
            few = {name: held[name] for name in ("tokens", "shrinkage") if "shrinkage" in held}
            yield layer, {"values": values, "vectors": vectors.contiguous(), **few}

    return CachedTensors("eigen", moment.label, make, moment.key)
