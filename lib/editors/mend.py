"""MEND: a network learns to turn one fine-tuning gradient into an edit (Mitchell et al., 2022).

The gradient of a linear layer's weight is a sum of outer products g kᵀ over tokens. A small
network, which is the identity at first, replaces every pair (k, g) by a better one. It is trained
on many edits, their rewordings and unrelated texts. MEND was made for single edits, and its edits
do not last in a long stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .hypernetwork import network
from .hypernetwork.network import ModuleUpdate
from .hypernetwork.network_editor import Factors
from .hypernetwork.settings import TrainableConfig
from .hypernetwork.trainable import Trainable


@dataclass(frozen=True)
class MendConfig(TrainableConfig):
    """MEND's published settings; a training step is ten edits of one fact each."""

    rank: int | None = 1920
    eta: float = 1e-4
    lr: float = 1e-6
    lr_step: float = 1e-4
    clip: float = 100.0
    batch: int = 1
    accumulate: int = 10
    edit_weight: float = 0.1
    tokens: Literal["answer", "all"] = "all"
    check_every: int = 5000
    patience: int = 20_000


class Mend(Trainable):
    """ΔW = −α Σ g̃ k̃ᵀ over all tokens of the edit; moments do not change after the training."""

    name = "mend"
    paper = "Mitchell et al., Fast Model Editing at Scale, ICLR 2022"
    Config = MendConfig
    config: MendConfig
    order = "mend"
    solves = False
    frozen = True

    def update(self, wanted: ModuleUpdate) -> Factors:
        """The factors A = −α g̃ (d_out, n) and B = k̃ᵀ (n, d_in) of ΔW."""
        return network.outer(wanted)

    def backward(self, wanted: ModuleUpdate, factors: Factors, G: Tensor) -> None:
        """Add the network's gradient of ⟨G, ΔW⟩, with G held fixed."""
        network.outer_backward(wanted, G)

    def choice(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """All matrices of the last three MLPs, or only the output ones where two are fused."""
        last = range(max(0, self.lm.n_layers - 3), self.lm.n_layers)
        if self.lm.arch.fused_in:
            return last, (), ()
        return last, last if len(self.lm.arch.mlp_in) > 1 else (), last
