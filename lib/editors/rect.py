"""RECT: keeping only the entries of an update that change the weights most (Gu et al., 2024).

RECT is a regularizer around another editor. In each update Δ, it keeps the 40% of the entries with
the largest change relative to the weight, setting all others to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.facts import Fact
from ..patch.patch import Patch
from ..setting_fields import Share, from_paper
from .shared.config import Config
from .shared.wrapper import Wrapper


@dataclass(frozen=True)
class RectConfig(Config):
    """Settings of RECT."""

    keep: Share = from_paper(
        0.4,
        "Fraction of an update's entries to keep, beginning with the largest relative change.",
    )


class Rect(Wrapper[RectConfig]):
    """The inner editor's update with all entries except the relatively largest set to zero.

    The remaining update is no longer of low rank, giving the new keys only part of their values.
    """

    name = "rect"
    paper = "Gu et al., Model Editing Harms General Abilities of LLMs, 2024 (arXiv:2401.04700)"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Mask the inner editor's update after it has edited all of its layers.

        Its later layers were therefore computed using the whole update of the earlier layers.
        """
        patch = self.wrapped.write(facts, after)
        new = {
            module: W + mask(self.lm.weight(module, patch).cpu() - W, W, self.config.keep)
            for module, value in patch.weights.items()
            if value is not after.weights.get(module)
            for W in [self.lm.weight(module, after).cpu()]
        }
        return patch.with_weights(new)


def mask(delta: Tensor, W: Tensor, keep: float) -> Tensor:
    """Return Δ with its ⌈keep · size⌉ entries of largest |Δ / W|, and 0 everywhere else."""
    count = math.ceil(keep * delta.numel())
    if count == 0:
        return torch.zeros_like(delta)
    relative = (delta / (W + 1e-8)).abs()
    least = relative.flatten().kthvalue(delta.numel() - count + 1).values
    return torch.where(relative >= least, delta, torch.zeros(()))
