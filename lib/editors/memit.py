"""MEMIT: many facts at once, spread over several layers (Meng et al., 2023).

Each layer is updated by soft least squares: the new keys get their values as far as general text,
weighted by λ, allows. NAS (norm anchors; Liu et al., 2026) is MEMIT using values of a fixed norm.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from ..computed_once import CachedTensors
from ..data.facts import Fact
from ..errors import EditWarning
from ..keys_values.value_search import Target
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Real, Size, from_paper
from .shared import value_norm
from .shared.layerwise import LayerwiseConfig, LayerwiseEditor


class Memit(LayerwiseEditor[LayerwiseConfig]):
    """Many facts in one least-squares update per layer, weighed against λ samples of general text.

    Δ = R Kᵀ (λC + K Kᵀ)⁻¹. The loop is shared by the family (shared/layerwise.py). keep_keys=True
    is the sequential form with Kp Kpᵀ in the inverse, which AlphaEdit's repository calls
    "MEMIT_seq".
    """

    name = "memit"
    paper = "Meng et al., Mass-Editing Memory in a Transformer, 2023 (arXiv:2210.07229)"


@dataclass(frozen=True)
class NormAnchorConfig(LayerwiseConfig):
    """Settings of MEMIT with norm anchors."""

    anchor_n: Size = from_paper(200, "Number of facts used to measure the anchors' norm.")
    anchor_skip: Real | None = from_paper(
        2.0, "Multiple of the anchors' norm at which a value is no longer written; None writes all."
    )


class NormAnchor(LayerwiseEditor[NormAnchorConfig]):
    """MEMIT with searched values keeping the norm that they have on the unedited model.

    Without the anchor, each v* is bounded by a state that earlier edits have lengthened, and
    writing such a v* lengthens W and the next state further.
    """

    name = "norm_anchor"
    title = "Norm anchor (NAS)"
    paper = "Liu et al., Norm Anchors Make Model Edits Last (NAS), 2026 (arXiv:2602.02543)"

    def statistics(self, after: Patch = EMPTY) -> list[CachedTensors]:
        """Return C of the layers' keys, and the anchors' norm."""
        return [*super().statistics(after), self.anchor()]

    def anchor(self) -> CachedTensors:
        """Return the anchors' `norm` at the last layer."""
        c = self.config
        return value_norm.anchor_norm(self.lm, c.layers[-1], c.search(), self.site, c.anchor_n)

    def values(self, facts: list[Fact], layer: int, templates: tuple[str, ...]) -> list[Target]:
        """Return MEMIT's values, scaled to their mean norm on the base model."""
        c = self.config
        found = super().values(facts, layer, templates)
        norm = float(self.anchor().tensors()["norm"])
        found, skipped = value_norm.anchored(found, norm, c.anchor_skip)
        if skipped:
            warnings.warn(
                f"{skipped} of {len(found)} values exceeded {c.anchor_skip:g} times the anchor "
                "and were not written.",
                EditWarning,
                stacklevel=2,
            )
        return found
