"""The plain values of an interference prediction: facts in view, and how an edit disturbs each.

interference.py computes them; the session keeps the last prediction, and the page shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

import lib

GROUPS = ("same question", "your edits", "other facts")  # why a fact is in view


@dataclass(frozen=True)
class Victim:
    """A fact that an edit may disturb.

    fact: the other fact.
    group: why it is in view, one of GROUPS.
    rho: predicted share of the write that lands on this fact's key.
    own: predicted size of what lands, relative to what the layer puts out for this fact by itself.
    share: the share of the write that did land on its key, read from the patch.
    kl: how far the distribution of its next token moved, in nats.
    before: its answer before the edit.
    after: its answer after the edit.
    changed: whether the answer became another one.
    """

    fact: lib.Fact
    group: str
    rho: float
    own: float | None = None
    share: float | None = None
    kl: float | None = None
    before: str = ""
    after: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Prediction:
    """All facts in view for one edit, the most disturbed first.

    fact: the fact that is to be written.
    editor: the name of the editor in lib.EDITORS.
    layer: the layer whose keys were compared.
    victims: the facts in view.
    measured: whether the edit was made since, and its effects were measured.
    """

    fact: lib.Fact
    editor: str
    layer: int
    victims: tuple[Victim, ...]
    measured: bool = False

    def agreement(self) -> float | None:
        """Spearman's correlation of |ρ| with the measured change of the answers (KL)."""
        pairs = [(abs(v.rho), v.kl) for v in self.victims if v.kl is not None]
        if len(pairs) < 3:
            return None
        x, y = (torch.tensor(side).double() for side in zip(*pairs, strict=True))
        ranks = torch.stack([x.argsort().argsort().double(), y.argsort().argsort().double()])
        return torch.corrcoef(ranks)[0, 1].item()
