"""Spectra of single matrices: the statistic that needs no list of candidates.

An edit Δ = r bᵀ adds a direction of its own to a matrix. Where it is large, it is a singular value
beside the bulk. That has little power against an edit of usual size: in the embedded model the
largest singular value is 14 to 35 and that of a ROME edit about 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from ..cancellation import steps
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch


def spectrum(lm: LM, patch: Patch = EMPTY, layers: Sequence[int] | None = None) -> pd.DataFrame:
    """The two largest singular values of each layer's output projection, and how far they stand.

    layer   its number.
    s1, s2  the largest singular values.
    ratio   s1/s2. Layers differ by themselves: it runs from 1.0 to 2.3 in the unedited embedded
            model.
    """
    rows = []
    for layer in steps(range(lm.n_layers) if layers is None else layers, "singular values"):
        values = singular_values(lm.weight(lm.mlp_out(layer), patch))
        rows.append((layer, values[0].item(), values[1].item(), (values[0] / values[1]).item()))
    return pd.DataFrame(rows, columns=["layer", "s1", "s2", "ratio"])


def singular_values(W: Tensor) -> Tensor:
    """Singular values of a matrix, descending, float64, from the smaller of its Gram matrices.

    Values below 1e-8 of the largest are rounding.
    """
    W = W.double().cpu()
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)
