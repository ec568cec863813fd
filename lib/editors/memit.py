"""MEMIT: many facts at once, spread over several layers (Meng et al., 2023).

Each layer is updated by soft least squares: the new keys get their values as far as general text,
weighed λ times, allows. NAS (norm anchors; Liu et al., 2026) is MEMIT with values of a fixed norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from .. import memory
from ..settings import setting
from .shared.by_output import ByOutput
from .shared.layer_spread import Spread, SpreadConfig, kept_keys


class Memit(ByOutput):
    """Many facts in one least-squares update per layer, against λ samples of general text.

    Δ = R Kᵀ (λC + K Kᵀ)⁻¹. These are the steps of the family's loop (shared/layer_spread.py).
    keep_keys=True is the sequential form with Kp Kpᵀ in the inverse, which AlphaEdit's repository
    calls "MEMIT_seq". chunk=40 writes long answers, as AnyEdit's "MEMIT_ARE" does, and
    outputs="curvature" gives each direction of the outputs a strength of its own (ours).
    """

    name = "memit"
    paper = "Meng et al., Mass-Editing Memory in a Transformer, 2023 (arXiv:2210.07229)"

    def weighed(self, layer: int, K: Tensor, state: Mapping[str, Any], weight: float) -> Tensor:
        """The reach B (n, d_in) of the keys K (d_in, n), with the strength λ times a weight."""
        strength = weight * self.config.strength
        return memory.reach(K, self.moment(layer), strength, kept_keys(state, layer))


@dataclass(frozen=True)
class NormAnchorConfig(SpreadConfig):
    """Settings of MEMIT with norm anchors."""

    anchor: Literal["base"] | None = setting("base", source="paper")
    anchor_n: int = setting(200, source="paper")
    anchor_skip: float | None = setting(2.0, source="paper")


class NormAnchor(Spread):
    """MEMIT whose searched values keep the norm that they have on the unedited model.

    Without the anchor each v* is bounded by a state that earlier edits have made longer. Writing
    such a v* makes W and the next state longer still.
    """

    name = "norm_anchor"
    paper = "Liu et al., Norm Anchors Make Model Edits Last (NAS), 2026 (arXiv:2602.02543)"
    Config = NormAnchorConfig
    config: NormAnchorConfig
