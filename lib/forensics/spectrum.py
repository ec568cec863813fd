"""Spectra of single matrices: the two statistics that need no list of candidates.

An edit Δ = r bᵀ adds a direction of its own to a matrix. Where it is large, it is a singular value
beside the bulk (`spectrum`). The matrix restricted to inputs that general text hardly uses keeps
most of such an edit and little of itself, so that a smaller edit shows there (`null_spectrum`).
Both have little power against an edit of usual size: in the embedded model the largest singular
value is 14 to 35 and that of a ROME edit about 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import memory
from ..cancellation import raise_if_cancelled
from ..keys_values.stretch import MAD
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch

NEIGHBORS = 2  # layers on either side that a layer is compared with
QUANTILE = 0.3  # of the directions of C that count as hardly used


def spectrum(lm: LM, patch: Patch = EMPTY, layers: Sequence[int] | None = None) -> pd.DataFrame:
    """The two largest singular values of each layer's output projection, and how far they stand.

    layer   its number.
    s1, s2  the largest singular values.
    ratio   s1/s2.
    z       robust z of log(s1/s2) minus the median of the layers beside it, over all layers.

    Layers differ by themselves (the ratio runs from 1.0 to 2.3 in the unedited embedded model), so
    a z of 3 is common. nan with fewer than five layers.
    """
    rows = []
    for layer in range(lm.n_layers) if layers is None else layers:
        raise_if_cancelled()
        values = singular_values(lm.weight(lm.mlp_out(layer), patch))
        rows.append((layer, values[0].item(), values[1].item()))
    table = pd.DataFrame(rows, columns=["layer", "s1", "s2"])
    return _against_neighbors(table)


def null_spectrum(
    lm: LM, moments: Mapping[int, Tensor], patch: Patch = EMPTY, quantile: float = QUANTILE
) -> pd.DataFrame:
    """The columns of `spectrum` for W Q, where Q spans the inputs that general text uses least.

    moments   {layer: C}, undamped, of `candidates.key_moments`
    quantile  share of the eigenvectors of C that Q takes, those with the least eigenvalues

    It costs one eigendecomposition of C per layer, a second or two at 1,536 inputs.
    """
    rows = []
    for layer in sorted(moments):
        raise_if_cancelled()
        W = lm.weight(lm.mlp_out(layer), patch).cpu()
        values, vectors = torch.linalg.eigh(moments[layer].float())
        space = memory.null_space_of(values, vectors, threshold=None, quantile=quantile)
        inside = singular_values(W @ space.Q)
        rows.append((layer, inside[0].item(), inside[1].item()))
    return _against_neighbors(pd.DataFrame(rows, columns=["layer", "s1", "s2"]))


def singular_values(W: Tensor) -> Tensor:
    """Singular values of a matrix, descending, float64, from the smaller of its Gram matrices.

    Values below 1e-8 of the largest are rounding.
    """
    W = W.double().cpu()
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)


def spike(change: float, d_out: int, d_in: int, variance: float) -> float:
    """The largest singular value of a matrix of noise plus a rank-one matrix, in the limit.

    change    σ of the rank-one matrix
    variance  ν of the independent entries of the noise (d_out, d_in)

    s² = (ν d_out + σ²)(ν d_in + σ²)/σ² where σ² > ν √(d_in d_out); below, the change does not show
    and the largest value is the bulk's edge √ν (√d_out + √d_in). Source: F. Benaych-Georges and R.
    R. Nadakuditi, "The singular values and vectors of low rank perturbations of large rectangular
    random matrices" (2012).
    """
    if change**2 <= variance * (d_in * d_out) ** 0.5:
        return variance**0.5 * (d_out**0.5 + d_in**0.5)
    squared = change**2
    return ((variance * d_out + squared) * (variance * d_in + squared) / squared) ** 0.5


def _against_neighbors(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `ratio`, and `z` against the layers beside each."""
    table["ratio"] = table.s1 / table.s2
    logs = np.log(table.ratio.to_numpy())
    table["z"] = np.nan
    if len(table) >= 2 * NEIGHBORS + 1:
        beside = [
            np.delete(logs[max(0, i - NEIGHBORS) : i + NEIGHBORS + 1], min(i, NEIGHBORS))
            for i in range(len(logs))
        ]
        away = logs - [np.median(some) for some in beside]
        spread = MAD * np.median(np.abs(away - np.median(away)))
        table["z"] = (away - np.median(away)) / spread if spread > 0 else 0.0
    return table
