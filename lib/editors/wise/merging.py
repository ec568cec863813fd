"""Merging task vectors: combining several separately trained changes of one matrix.

A task vector is τ = W′ − W, the change that training made to a matrix. WISE's shards are merged by
one of the three rules here (TIES: Yadav et al., 2023, arXiv:2306.01708). There is no model here,
only tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor


def ties(
    taus: Sequence[Tensor], weights: Sequence[float] | None = None, density: float = 0.53
) -> Tensor:
    """Merge by TIES in three steps, trim, elect, merge, returning float32 of the shape of one τ.

    Trim: of every τ, keep the fraction `density` with the largest magnitudes. Elect: for each
    entry, choose the sign of Σ w_s τ_s (0 counts as +). Merge: take the w-weighted mean over the
    τ_s with this sign. Zeros do not count in the divisor, so disjoint vectors are simply added.
    weights are 1/k each by default, and a common factor of them cancels. If density is below the
    fraction of nonzero entries, trimming removes small entries.
    taus (4, −1, .5, 2), (−2, −3, 1, .2), (3, 2, −.1, −5), density ½ -> (3.5, −3, 0, −5)
    """
    return sign([trim(tau, density) for tau in taus], weights)


def sign(
    taus: Sequence[Tensor], weights: Sequence[float] | None = None, density: float = 1.0
) -> Tensor:
    """Return TIES without the trim (density is unused): the mean over entries of the elected sign.

    The vectors of `ties` above -> (3.5, −2, .75, −5)
    """
    scaled = _scaled(taus, weights)
    # elect a sign per entry
    up = sum(wt for _, wt in scaled) >= 0
    # add up the entries with this sign, and the weights of their vectors
    total, share = torch.zeros_like(taus[0]), torch.zeros_like(taus[0])
    for w, wt in scaled:
        chosen = (wt != 0) & ((wt > 0) == up)
        total += torch.where(chosen, wt, 0.0)
        share += chosen * w
    # Σ w τ / Σ w over the elected; if nothing is elected, the entry stays 0
    return total / torch.where(share > 0, share, 1.0)


def linear(
    taus: Sequence[Tensor], weights: Sequence[float] | None = None, density: float = 1.0
) -> Tensor:
    """Return Σ w_s τ_s (density is unused): default weights 1/k shrink every change by k."""
    return cast(Tensor, sum(wt for _, wt in _scaled(taus, weights)))


def trim(tau: Tensor, density: float) -> Tensor:
    """Return τ, setting all except its round(density · n) entries of largest magnitude to 0.

    trim((4, −1, .5, 2), ½) -> (4, 0, 0, 2)
    """
    n = tau.numel()
    count = max(1, round(density * n))
    if count >= n:
        return tau
    largest = torch.zeros(n, dtype=torch.bool)
    largest[tau.abs().flatten().topk(count).indices] = True
    return torch.where(largest.view_as(tau), tau, 0.0)


RULES: dict[str, Callable[..., Tensor]] = {"ties": ties, "sign": sign, "linear": linear}


def _scaled(taus: Sequence[Tensor], weights: Sequence[float] | None) -> list[tuple[float, Tensor]]:
    weights = [1 / len(taus)] * len(taus) if weights is None else weights
    return [(w, w * tau) for w, tau in zip(weights, taus, strict=True)]
