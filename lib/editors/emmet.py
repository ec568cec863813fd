"""EMMET: many facts at once with equality (Gupta et al., 2024).

EMMET is MEMIT's loop with a hard constraint, the limit of MEMIT as λ goes to 0 (`memory.reach` with
strength 0). With one fact, it is ROME.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..setting_fields import Amount
from .shared.layerwise import LayerwiseConfig, LayerwiseEditor


@dataclass(frozen=True)
class EmmetConfig(LayerwiseConfig):
    """Settings of EMMET; a strength of 0 gives the paper's equality.

    The published program weights C by w and adds ε to the diagonal of KᵀC⁻¹K, which is exactly
    MEMIT with λ = w·ε. Its settings therefore become a strength of 1,000 or 10,000 here.
    """

    strength: Amount = 0.0


class Emmet(LayerwiseEditor[EmmetConfig]):
    """Many facts with equality, Δ = R (KᵀC⁻¹K)⁻¹ KᵀC⁻¹, in one layer by default.

    When two facts share a key but have two values, both cannot hold, so the mean of the values is
    written.
    """

    name = "emmet"
    paper = "Gupta et al., A Unified Framework for Model Editing, 2024 (arXiv:2403.14236)"
