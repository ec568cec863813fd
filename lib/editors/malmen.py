"""MALMEN: thousands of edits in one update, by a network and a ridge regression (Tan et al., 2024).

Summing the outer products of many edits, as in MEND, leaves them canceling or accumulating. Here,
each answer token requests a shift v = −η ⟨k, k̃⟩ g̃ of the output at its own key k, using a trained
network's k̃ and g̃. A single ridge regression, ΔW = V Kᵀ(K Kᵀ + λI)⁻¹, grants all shifts at once. η
and λ are learned for each module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .. import associative_memory as memory
from ..data.facts import Case
from ..errors import EditError, NetworkError
from ..registry import EDITORS
from .hypernetwork.network import ModuleUpdate
from .hypernetwork.network_editor import Factors
from .hypernetwork.network_file import Networks
from .hypernetwork.settings import RegressionConfig
from .hypernetwork.trainable import Trainable


@dataclass(frozen=True)
class MalmenConfig(RegressionConfig):
    """MALMEN's published settings."""


class Malmen(Trainable[RegressionConfig]):
    """MEND with many facts joined by a regression; trained on updates of `batch` facts each."""

    name = "malmen"
    paper = "Tan et al., Massive Editing for LLMs via Meta Learning, ICLR 2024 (arXiv:2311.04661)"
    Config: ClassVar[type[RegressionConfig]] = MalmenConfig

    def factors(self, wanted: ModuleUpdate, k: Tensor, g: Tensor) -> Factors:
        """Return V (d_out, n) and B = Kᵀ(K Kᵀ + λI)⁻¹ (n, d_in).

        With the network's keys, K is K̃ (ours), and λ is measured in units of the mean ‖k̃‖², since
        these keys have no natural unit. With a single column and λ = 0, the result is MEND's
        outer product.
        """
        raw = self.config.keys == "raw"
        K = wanted.pair.K.cpu().double() if raw else k
        # v = −η ⟨k, k̃⟩ g̃
        V = -wanted.step * (K * k).sum(0) * g
        B = memory.reach(K, strength=wanted.ridge) if raw else memory.reach(K, ridge=wanted.ridge)
        return V, B

    def fresh(self, cases: Sequence[Case] = ()) -> Networks:
        """Return networks to train: the identity, or a copy of another editor's trained ones."""
        networks = super().fresh(() if self.config.begin else cases)
        return self.begun(networks, self.config.begin) if self.config.begin and cases else networks

    def begun(self, networks: Networks, name: str) -> Networks:
        """Initialize the networks using another editor's trained parameters and moments.

        Raises EditError if that editor has none, or if its settings name other modules or sizes.
        """
        donor = EDITORS[name](self.lm)
        if donor.modules() != self.modules() or donor.order != self.order:
            raise EditError(
                f"begin={name} needs the same modules and order as {name}'s settings. Change "
                "these settings."
            )
        state = donor.networks().state()
        for shape, net in networks.nets.items():  # MEND has no λ
            state[shape]["net"].setdefault("log_ridge", net.log_ridge.detach().clone())
        try:
            networks.load(state)
        except NetworkError as error:
            raise EditError(f"begin={name}: {error}") from None
        return networks
