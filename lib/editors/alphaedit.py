"""AlphaEdit: MEMIT inside the null space of general text (Fang et al., 2025).

Only directions that ordinary keys hardly use may change, and the keys of earlier edits stay in the
inverse, so that later batches leave them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import memory
from ..keys_values.null_space import null_space
from .shared.layer_spread import Spread, SpreadConfig, kept_keys


@dataclass(frozen=True)
class AlphaEditConfig(SpreadConfig):
    """Settings of AlphaEdit.

    threshold: eigenvalues of C below it span the null space; an absolute number, so it depends on
    how long a model's keys are; quantile, if given, takes that share of all directions instead. L2
    weighs ‖ΔP‖². strength and second_moment of MEMIT have no meaning here.
    """

    keep_keys: bool = True
    threshold: float = 2e-2
    quantile: float | None = None
    L2: float = 10.0


class AlphaEdit(Spread):
    """Many facts written into the null space, next to all earlier ones.

    Δ = R (QᵀK)ᵀ (QᵀKpKpᵀQ + QᵀKKᵀQ + L2·I)⁻¹ Qᵀ with P = Q Qᵀ.
    """

    name = "alphaedit"
    paper = "Fang et al., AlphaEdit: Null-Space Constrained Editing, 2025 (arXiv:2410.02355)"
    Config = AlphaEditConfig
    config: AlphaEditConfig
    keeps = True

    def solve(self, layer: int, K: Tensor, state: Mapping[str, Any]) -> Tensor:
        """B (n, d_in) inside the null space."""
        Q = self.null_space(layer).Q
        return memory.reach_null(K, Q, self.config.L2, kept_keys(state, layer))

    def null_space(self, layer: int) -> memory.NullSpace:
        """Q (d_in, r) of a layer, from the base model's C, with the share of tr C inside."""
        c = self.config
        found = null_space(self.lm, c.layers, c.threshold, c.quantile, c.text, c.tokens)
        return found[layer]
