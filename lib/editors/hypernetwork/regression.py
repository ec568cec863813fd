"""The common part of MALMEN and RLEdit: one ridge regression writes many edits.

Summed outer products of many edits cancel or pile up. Here each answer token asks for a shift of
the output at its own key. The network says which shift, and one regression grants all of them at
once.
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
from ...settings import setting
from . import network
from .network import ModuleUpdate
from .network_editor import Factors
from .network_file import Networks
from .settings import TrainableConfig
from .trainable import Trainable


@dataclass(frozen=True)
class RegressionConfig(TrainableConfig):
    """Settings of a network whose shifts one regression writes; those added here are ours."""

    keys: Literal["raw", "network"] = setting(
        "raw",
        "Whether the regression stands on the keys as they are read or on the network's, in whose "
        "mean squared length λ then counts.",
        source="ours",
    )
    strength: float = setting(
        0.0,
        "Weight of general text in the ridge, λ(I + strength · C), for raw keys at output "
        "projections only.",
        source="ours",
    )
    begin: Literal["malmen", "mend"] | None = setting(
        None,
        "Editor whose trained network training starts from; None starts from the identity.",
        source="ours",
    )
    order: Literal["malmen", "mend"] = setting(
        "malmen",
        "Method whose blocks the network is made of; MEND's where it begins from MEND's network.",
        source="ours",
    )


class Regression(Trainable):
    """ΔW = V Kᵀ(K Kᵀ + λI)⁻¹ with v = −η ⟨k, k̃⟩ g̃; η and λ are learned for each module."""

    Config = RegressionConfig
    config: RegressionConfig

    @cached_property
    def _metrics(self) -> dict[str, Moment]:
        return {}

    @property
    def order(self) -> Literal["mend", "malmen"]:
        """The order of the settings."""
        return self.config.order

    def update(self, wanted: ModuleUpdate) -> Factors:
        """A = V (d_out, n), B = Kᵀ(K Kᵀ + λI)⁻¹ (n, d_in)."""
        return network.regress(wanted) if self.config.keys == "network" else network.ridge(wanted)

    def backward(self, wanted: ModuleUpdate, factors: Factors, G: Tensor) -> None:
        """The network's and λ's gradient, through the regression by its closed form."""
        if self.config.keys == "network":
            network.regress_backward(wanted, G)
        else:
            network.ridge_backward(wanted, factors, G)

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
        """Networks to train: the identity, or a copy of another editor's trained ones."""
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
