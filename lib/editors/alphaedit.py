"""AlphaEdit: MEMIT inside the null space of general text (Fang et al., 2025).

The weights change only in directions that the keys of ordinary text hardly use. The keys of earlier
edits stay in the inverse, so that later batches do not change the outputs there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import memory
from ..keys_values.null_space import eigen, null_space
from ..keys_values.second_moment import stored_moments
from ..settings import setting
from .shared.by_output import ByOutput, OutputConfig
from .shared.layer_spread import kept_keys


@dataclass(frozen=True)
class AlphaEditConfig(OutputConfig):
    """Settings of AlphaEdit; MEMIT's `strength` and `second_moment` have no effect here."""

    keep_keys: bool = True
    threshold: float = setting(
        2e-2,
        "Eigenvalue of C below which a direction belongs to the null space; an absolute number, so "
        "it depends on how long a model's keys are.",
        source="paper",
    )
    L2: float = setting(10.0, "Weight of the squared change inside the null space.", source="paper")

    # an option of ours

    quantile: float | None = setting(
        None,
        "Share of all directions that make the null space, in the place of the threshold.",
        source="ours",
    )


class AlphaEdit(ByOutput):
    """Many facts written into the null space, next to all earlier ones.

    Δ = R (QᵀK)ᵀ (QᵀKpKpᵀQ + QᵀKKᵀQ + L2·I)⁻¹ Qᵀ with P = Q Qᵀ. outputs="curvature" gives each
    direction of the outputs a null space of its own (ours).
    """

    name = "alphaedit"
    paper = "Fang et al., AlphaEdit: Null-Space Constrained Editing, 2025 (arXiv:2410.02355)"
    Config = AlphaEditConfig
    config: AlphaEditConfig
    keeps = True

    def solve(self, layer: int, K: Tensor, state: Mapping[str, Any]) -> Tensor:
        """The reach B (n, d_in) of the keys K (d_in, n) inside the null space."""
        Q = self.null_space(layer).Q
        return memory.reach_null(K, Q, self.config.L2, kept_keys(state, layer))

    def null_space(self, layer: int) -> memory.NullSpace:
        """The null space Q (d_in, r) of a layer, from the C of the base model."""
        c = self.config
        given = c.threshold, c.quantile, c.text, c.tokens
        return null_space(self.lm, [layer], *given, among=c.layers)[layer]

    def weighed(self, layer: int, K: Tensor, state: Mapping[str, Any], weight: float) -> Tensor:
        """The reach B (n, d_in) inside the inputs v_j with weight · c_j below the threshold."""
        values, vectors = self._inputs(layer)
        inside = vectors[:, weight * values < self.cut(layer)]
        if not inside.shape[1]:  # this output is too sharp to be changed at all
            return K.new_zeros(K.shape[1], len(K))
        return memory.reach_null(K, inside, self.config.L2, kept_keys(state, layer))

    def cut(self, layer: int) -> float:
        """The threshold of s_i c_j; with `quantile`, the one that this share of all pairs is below.

        S has a mean eigenvalue of 1, so that for S = I both are those of AlphaEdit.
        """
        c = self.config
        if c.quantile is None:
            return c.threshold
        values, _ = self._inputs(layer)
        s, _ = self.output_curvature(layer)
        pairs = torch.outer(s, values).flatten().sort().values
        # the place of `memory.null_space_of`, once for each output
        return float(pairs[min(round(c.quantile * len(values)) * len(s), len(pairs) - 1)])

    def _inputs(self, layer: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues, ascending, and eigenvectors of C without damping, float64."""
        c = self.config
        wanted = sorted({*c.layers, layer})
        paths, _, _ = stored_moments(self.lm, wanted, c.text, c.tokens, None)
        return eigen(str(paths[layer]), self.lm.device)
