"""Merging task vectors: several changes of one matrix, made apart from each other, become one.

A task vector is τ = W′ − W, what a training added to a matrix. WISE's shards are merged by one of
the three rules here (TIES: Yadav et al., 2023, arXiv:2306.01708). There is no model here, only
tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor


def ties(
    taus: Sequence[Tensor], weights: Sequence[float] | None = None, density: float = 0.53
) -> Tensor:
    """TIES in three steps, trim, elect, merge: a tensor of the shape of one τ, float32.

    Trim: of every τ the share `density` with the largest magnitudes is kept. Elect: per entry the
    sign of Σ w_s τ_s (0 counts as +). Merge: the w-weighted mean over the τ_s that have this sign.
    Zeros do not count in the divisor, so disjoint vectors are simply added. weights are 1/k each by
    default, and a common factor of them cancels. Where density is below the share of nonzero
    entries, the trim takes small ones away.
    taus (4, −1, .5, 2), (−2, −3, 1, .2), (3, 2, −.1, −5), density ½ -> (3.5, −3, 0, −5)
    """
    return sign([trim(tau, density) for tau in taus], weights)


def sign(
    taus: Sequence[Tensor], weights: Sequence[float] | None = None, density: float = 1.0
) -> Tensor:
    """TIES without the trim (density is not used): the mean over the entries of the elected sign.

    The vectors of `ties` above -> (3.5, −2, .75, −5)
    """
    scaled = _scaled(taus, weights)
    # elect a sign per entry
    up = sum(wt for _, wt in scaled) >= 0
    # add up what has this sign, and the weights of the vectors that do
    total, share = torch.zeros_like(taus[0]), torch.zeros_like(taus[0])
    for w, wt in scaled:
        chosen = (wt != 0) & ((wt > 0) == up)
        total += torch.where(chosen, wt, 0.0)
        share += chosen * w
    # Σ w τ / Σ w over the elected; where nothing is elected the entry stays 0
    return total / torch.where(share > 0, share, 1.0)


def linear(
    taus: Sequence[Tensor], weights: Sequence[float] | None = None, density: float = 1.0
) -> Tensor:
    """Σ w_s τ_s (density is not used): with the default weights 1/k every change shrinks by k."""
    return cast(Tensor, sum(wt for _, wt in _scaled(taus, weights)))


def trim(tau: Tensor, density: float) -> Tensor:
    """τ with all but its round(density · n) entries of largest magnitude set to 0.

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
