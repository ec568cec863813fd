"""MALMEN: thousands of edits in one update, by a network and a ridge regression (Tan et al., 2024).

Summed outer products of many edits cancel or pile up. Here each answer token asks for a shift of
the output at its own key, the network says which, and one regression grants all of them at once.
"""

from __future__ import annotations

from torch import Tensor

from .. import hypernet
from ..hypernet import Turn
from ..trainable import Factors, Trainable, TrainableConfig


class Malmen(Trainable):
    """ΔW = V Kᵀ(K Kᵀ + λI)⁻¹ with v = −η ⟨k, k̃⟩ g̃; η and λ are learned for each module."""

    name = "malmen"
    paper = "Tan et al., Massive Editing for LLMs via Meta Learning, ICLR 2024"
    Config = TrainableConfig
    order = "malmen"

    def update(self, turn: Turn) -> Factors:
        """A = V (d_out, n), B = Kᵀ(K Kᵀ + λI)⁻¹ (n, d_in)."""
        return hypernet.ridge(turn)

    def backward(self, turn: Turn, update: Factors, G: Tensor) -> None:
        """The network's and λ's gradient, through the regression by its closed form."""
        hypernet.ridge_backward(turn, update, G)
