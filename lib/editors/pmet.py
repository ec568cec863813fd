"""PMET: MEMIT keeping attention's part of the change out of the MLP (Li et al., 2024).

The changes of the attention's and the MLP's outputs at the last layer are searched together, but
only the MLP's change is written. A value also doing the attention's work would be larger than
needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..data.facts import Fact
from ..setting_fields import Amount, Count, from_paper
from .shared.layerwise import LayerwiseConfig, LayerwiseEditor


@dataclass(frozen=True)
class PmetConfig(LayerwiseConfig):
    """Settings of MEMIT with a stronger KL term and a search that may end early."""

    kl_factor: Amount = 1.0
    v_lr: Amount = 0.2
    steps: Count = 30
    relax: bool = from_paper(
        True,
        "Whether a target that is already the argmax counts only a tenth, after which a small KL "
        "term ends its search.",
    )


class Pmet(LayerwiseEditor[PmetConfig]):
    """MEMIT on the MLP's own output, spread by the square root of the layers left."""

    name = "pmet"
    paper = "Li et al., PMET: Precise Model Editing in a Transformer, 2024 (arXiv:2308.08742)"
    site = "pmet"  # `target_value` moves both outputs there and returns the MLP's

    def residual(self, rest: Tensor, left: int) -> Tensor:
        """Return the rest divided by √left, so that lower layers write more than in MEMIT.

        With four layers left, this gives half of the rest, not a quarter.
        """
        return rest / left**0.5

    def keys_and_states(
        self, facts: list[Fact], layer: int, templates: tuple[str, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return keys at `layer` and the last layer's MLP output (d_out, n), as patched now."""
        name, last = self.lm.mlp_out(layer), self.lm.mlp_out(self.config.layers[-1])
        seen = self.lm.at_subjects(facts, list(dict.fromkeys([name, last])), templates)
        return self.key(seen[name]), self.lm.output(last, seen[last][0]).T.cpu()
