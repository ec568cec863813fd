"""MEND: a network learns to turn one fine-tuning gradient into an edit (Mitchell et al., 2022).

The gradient of a linear layer's weight is a sum of outer products g kᵀ over tokens. A small
network, initially the identity, replaces every pair (k, g) with a better one. It is trained on many
edits, their paraphrases, and unrelated texts. MEND was designed for making single edits, and its
edits do not last in a long stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..model.lm import LM
from ..setting_fields import Amount, Count, Real, Size
from .hypernetwork.network import ModuleUpdate
from .hypernetwork.network_editor import Factors
from .hypernetwork.settings import TrainableConfig
from .hypernetwork.trainable import Trainable


@dataclass(frozen=True)
class MendConfig(TrainableConfig):
    """MEND's published settings; a training step covers ten edits of one fact each."""

    rank: Size | None = 1920
    eta: Real = 1e-4
    lr: Amount = 1e-6
    lr_step: Amount = 1e-4
    clip: Amount = 100.0
    batch: Size = 1
    accumulate: Size = 10
    edit_weight: Amount = 0.1
    tokens: Literal["answer", "all"] = "all"
    check_every: Size = 5000
    patience: Count = 20_000

    def edited_layers(self, lm: LM) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """By default, all matrices of the last three MLPs, or only the output matrices if fused."""
        if self.down or self.gate or self.up:
            return super().edited_layers(lm)
        last = range(max(0, lm.n_layers - 3), lm.n_layers)
        if lm.arch.fused_in:
            return last, (), ()
        return last, last if len(lm.arch.mlp_in) > 1 else (), last


class Mend(Trainable[MendConfig]):
    """A trained network turns one fine-tuning gradient into the edit, ΔW = −α Σ g̃ k̃ᵀ."""

    name = "mend"
    paper = "Mitchell et al., Fast Model Editing at Scale, ICLR 2022 (arXiv:2110.11309)"
    solves = False
    frozen = True

    def factors(self, wanted: ModuleUpdate, k: Tensor, g: Tensor) -> Factors:
        """Return A = −α g̃ (d_out, n) and B = k̃ᵀ (n, d_in)."""
        return -wanted.step * g, k.T
