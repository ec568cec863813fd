"""AlphaEdit: MEMIT inside the null space of general text (Fang et al., 2025).

The weights change only along directions that the keys of ordinary text barely use. The keys of
earlier edits stay in the inverse (`layerwise.remember`), preserving the outputs there when later
batches are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import associative_memory as memory
from ..computed_once import CachedTensors
from ..keys_values.null_space import null_space, stored_eigen
from ..keys_values.second_moment import stored_moments
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Amount, Real, Share, from_paper, ours
from .shared.layerwise import LayerwiseConfig, LayerwiseEditor, earlier_keys


@dataclass(frozen=True)
class AlphaEditConfig(LayerwiseConfig):
    """Settings of AlphaEdit; MEMIT's `strength` and `second_moment` have no effect here."""

    keep_keys: bool = True
    threshold: Real = from_paper(
        2e-2,
        "Eigenvalue of C below which a direction belongs to the null space. The number is "
        "absolute, so it depends on how long a model's keys are.",
    )
    L2: Amount = from_paper(10.0, "Weight of the squared change inside the null space.")

    # our addition

    quantile: Share | None = ours(
        None, "Fraction of all directions that make up the null space, replacing the threshold."
    )


class AlphaEdit(LayerwiseEditor[AlphaEditConfig]):
    """Many facts written into the null space, together with all earlier ones.

    Δ = R (QᵀK)ᵀ (QᵀKpKpᵀQ + QᵀKKᵀQ + L2·I)⁻¹ Qᵀ with P = Q Qᵀ.
    """

    name = "alphaedit"
    title = "AlphaEdit"
    paper = "Fang et al., AlphaEdit: Null-Space Constrained Editing, 2025 (arXiv:2410.02355)"
    keeps = True

    def statistics(self, after: Patch = EMPTY) -> list[CachedTensors]:
        """Return C of the layers' keys and its eigenvectors."""
        moments = stored_moments(self.lm, self.layers(), self.config.text, self.config.tokens)
        found = list(moments.values())
        return found + [stored_eigen(one, self.lm.device) for one in found]

    def solve(self, layer: int, K: Tensor, state: Mapping[str, Any]) -> Tensor:
        """Return B (n, d_in) for the keys K (d_in, n) inside the null space."""
        Q = self.null_space(layer).Q
        return memory.reach_null(K, Q, self.config.L2, earlier_keys(state, layer))

    def null_space(self, layer: int) -> memory.NullSpace:
        """Return the null space Q (d_in, r) of a layer, using the C of the base model."""
        c = self.config
        return null_space(self.lm, [layer], c.threshold, c.quantile, c.text, c.tokens)[layer]
