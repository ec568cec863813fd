"""Spectra of single matrices: the statistic that needs no list of candidates.

An edit Δ = r bᵀ adds a direction of its own to a matrix. Where it is large, it is a singular value
beside the bulk. That has little power against an edit of usual size: in the embedded model the
largest singular value is 14 to 35 and that of a ROME edit about 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..cancellation import steps
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .matched_filter import MAD

NEIGHBORS = 2  # layers on either side that a layer is compared with


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
    for layer in steps(range(lm.n_layers) if layers is None else layers, "singular values"):
        values = singular_values(lm.weight(lm.mlp_out(layer), patch))
        rows.append((layer, values[0].item(), values[1].item()))
    table = pd.DataFrame(rows, columns=["layer", "s1", "s2"])
    return _against_neighbors(table)


def singular_values(W: Tensor) -> Tensor:
    """Singular values of a matrix, descending, float64, from the smaller of its Gram matrices.

    Values below 1e-8 of the largest are rounding.
    """
    W = W.double().cpu()
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)


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
