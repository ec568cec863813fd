"""Many edits by one regression: what MALMEN and RLEdit have in common.

Summed outer products of many edits cancel or pile up. Here each answer token asks for a shift of
the output at its own key, the network says which, and one regression grants all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from ...data.facts import Case
from ...errors import EditError, NetworkError
from ...keys_values import answer_gradients
from ...memory import Moment
from ...registry import EDITORS
from . import network
from .network import Turn
from .network_file import Networks
from .settings import TrainableConfig
from .trainable import Factors, Trainable


@dataclass(frozen=True)
class RegressionConfig(TrainableConfig):
    """Published settings; what is ours is off.

    keys "network": the regression stands on the network's keys k̃ in the place of the raw ones, and
    λ counts in their mean ‖k̃‖²; a lone token then gives MEND's update. strength: λI is λ(I +
    strength·C), C the moment of general text (raw keys at `down` only). begin: training starts from
    another editor's trained network, not from the identity. order: whose blocks the network has,
    "mend" where it begins from MEND's.
    """

    keys: Literal["raw", "network"] = "raw"
    strength: float = 0.0
    begin: Literal["malmen", "mend"] | None = None
    order: Literal["malmen", "mend"] = "malmen"


class Regression(Trainable):
    """ΔW = V Kᵀ(K Kᵀ + λI)⁻¹ with v = −η ⟨k, k̃⟩ g̃; η and λ are learned for each module."""

    Config = RegressionConfig
    config: RegressionConfig

    @cached_property
    def _metrics(self) -> dict[str, Moment]:
        return {}

    @property
    def order(self) -> Literal["mend", "malmen"]:
        """The settings'."""
        return self.config.order

    def update(self, turn: Turn) -> Factors:
        """A = V (d_out, n), B = Kᵀ(K Kᵀ + λI)⁻¹ (n, d_in)."""
        return network.regress(turn) if self.config.keys == "network" else network.ridge(turn)

    def backward(self, turn: Turn, update: Factors, G: Tensor) -> None:
        """The network's and λ's gradient, through the regression by its closed form."""
        if self.config.keys == "network":
            network.regress_backward(turn, G)
        else:
            network.ridge_backward(turn, update, G)

    def metric(self, name: str) -> Moment | None:
        """I + strength·C of a module, which weighs the size of ΔW; None for I alone (published)."""
        if self.config.strength and self.config.keys == "network":
            raise EditError("general text has no keys of the network's: strength needs keys=raw")
        if self.config.strength and name not in self._metrics:
            C = answer_gradients.general(self.lm, name)
            one = torch.eye(len(C)).to(C)
            self._metrics[name] = Moment(one + self.config.strength * C)
        return self._metrics.get(name)

    def fresh(self, cases: Sequence[Case] = ()) -> Networks:
        """Networks to train: the identity, or what another editor's have learned."""
        if self.config.begin and cases:
            return self.begun(self.config.begin)
        return super().fresh(cases)

    def begun(self, name: str) -> Networks:
        """A copy of another editor's trained networks with their moments, to be trained further.

        Raises EditError where that editor has none, or its settings name other modules or sizes.
        """
        donor, networks = EDITORS[name](self.lm), super().fresh()
        if donor.modules() != self.modules() or donor.order != self.order:
            raise EditError(f"begin={name} needs the same modules and order as {name}'s settings")
        state = donor.networks().state()
        for shape, net in networks.nets.items():  # MEND has no λ
            state[shape]["net"].setdefault("log_ridge", net.log_ridge.detach().clone())
        try:
            networks.load(state)
        except NetworkError as error:
            raise EditError(f"begin={name}: {error}") from None
        return networks
