"""PRUNE: bound the singular values of everything written so far (Ma et al., 2025).

With every edit the condition number of the edited matrix grows, and general text is disturbed more.
PRUNE shrinks the large singular values of the total update W_T − W_0 with a logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from ..data.facts import Fact
from ..patch.patch import LowRank, Patch
from ..settings import setting
from .shared.config import Config
from .shared.wrapper import Wrapper


@dataclass(frozen=True)
class PruneConfig(Config):
    """Settings of PRUNE."""

    alpha: Annotated[float, Meta(gt=1, lt=1e18, description="a number above 1")] = setting(
        math.e,
        "Base, above 1, of the logarithm by which large singular values are shrunk.",
        source="paper",
    )


class Prune(Wrapper):
    """The inner editor's total update, shrunk once.

    A singular value s above σ, the largest of W_0, becomes log_α(s/σ) + σ. The inner editor goes on
    from the weights that are not shrunk, which the memory keeps. Otherwise the first of T edits
    would be shrunk T times.
    """

    name = "prune"
    paper = "Ma et al., Perturbation-Restrained Sequential Model Editing, 2025 (arXiv:2405.16821)"
    Config = PruneConfig
    config: PruneConfig

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """One more batch by the inner editor, then W_0 + U diag(s') Vᵀ for each edited module."""
        # the inner editor goes on from the weights before any shrinking
        whole = _unpack(after.memory.get(self.name, {}))
        patch = self.wrapped.write(facts, replace(after, weights={**after.weights, **whole}))
        total = {
            module: value
            for module, value in patch.weights.items()
            if module in whole or value is not after.weights.get(module)
        }
        # W_0 + U diag(s') Vᵀ of each module's total update
        pruned = {}
        for module in total:
            W = self.lm.weight(module).cpu()
            sigma = torch.linalg.matrix_norm(W, 2).item()  # the largest singular value of W_0
            delta = self.lm.weight(module, patch).cpu() - W
            pruned[module] = W + shrink(delta, sigma, self.config.alpha)
        return patch.with_weights(pruned, memory={**patch.memory, self.name: _pack(total)})


def shrink(delta: Tensor, sigma: float, alpha: float) -> Tensor:
    """Δ with every singular value s > σ replaced by log_α s − log_α σ + σ, unless that is larger.

    The order of the singular values is kept. delta = diag(e², 1), sigma 1, alpha e -> diag(3, 1).
    """
    U, s, Vh = torch.linalg.svd(delta.double(), full_matrices=False)
    less = torch.minimum(s, (s.clamp(min=1e-30) / sigma).log() / math.log(alpha) + sigma)
    return ((U * torch.where(s > sigma, less, s)) @ Vh).to(delta)


def _pack(weights: Mapping[str, Tensor | LowRank]) -> dict:
    return {
        module: value.chunks if isinstance(value, LowRank) else value
        for module, value in weights.items()
    }


def _unpack(memory: Mapping) -> dict[str, Tensor | LowRank]:
    return {
        module: value if isinstance(value, Tensor) else LowRank(tuple(map(tuple, value)))
        for module, value in memory.items()
    }
