"""PMET: MEMIT with the attention's share of the change kept out of the MLP (Li et al., 2024).

Changes of the attention's and the MLP's outputs at the last layer are searched together, but only
the MLP's is written. A value that also had to do the attention's work would be larger than needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..data.facts import Fact
from ..keys_values.conversation_forms import NONE, Forms
from ..settings import setting
from .shared.layer_spread import Spread, SpreadConfig


@dataclass(frozen=True)
class PmetConfig(SpreadConfig):
    """Settings of MEMIT with a stronger KL term and a search that may end early."""

    kl_factor: float = 1.0
    v_lr: float = 0.2
    steps: int = 30
    relax: bool = setting(
        True,
        "Whether a target that is the argmax counts a tenth, after which a small KL term ends its "
        "search.",
        source="paper",
    )


class Pmet(Spread):
    """MEMIT on the MLP's own output, spread by the square root of the layers left."""

    name = "pmet"
    paper = "Li et al., PMET: Precise Model Editing in a Transformer, 2024 (arXiv:2308.08742)"
    Config = PmetConfig
    config: PmetConfig
    place = "pmet"

    def share(self, rest: Tensor, left: int) -> Tensor:
        """The rest divided by √left, so that lower layers write more than in MEMIT.

        With four layers left it is half of the rest, not a quarter.
        """
        return rest / left**0.5

    def read(
        self, facts: list[Fact], layer: int, templates: tuple[str, ...], forms: Forms = NONE
    ) -> tuple[Tensor, Tensor]:
        """Keys at `layer` and the MLP's output (d_out, n) at the last layer, as patched now."""
        last = self.lm.mlp_out(self.config.layers[-1])
        names = [self.lm.mlp_out(layer), last]
        seen = self.lm.at_subjects(facts, list(dict.fromkeys(names)), templates)
        said = self._said(names[:1], forms)[names[0]]
        return self._key(seen[names[0]], said), self.lm.output(last, seen[last][0]).T.cpu()
