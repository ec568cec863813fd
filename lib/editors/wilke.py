"""WilKE: ROME in the layer fitting the fact best (Hu et al., 2024).

WilKE tries every layer, writing the fact into the layer needing the smallest change relative to its
weights. A small ‖Δ‖/‖W‖ means that the subject's key has a strong pattern there. Writing to a
layer without such a pattern takes a huge update, damaging all other facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from ..cancellation import steps
from ..data.facts import Fact
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Layers, Size, from_paper
from .rome import Rome, RomeConfig, insert
from .shared.base import add_low_rank
from .shared.values_at_layers import search_layers


@dataclass(frozen=True)
class WilkeConfig(RomeConfig):
    """Settings of ROME, and the layers to try; `layer` has no effect.

    The key is chosen as published. keys="both" repairs much of the damage that WilKE avoids by
    choosing a layer, and is used in `preset="ours"`.
    """

    keys: Literal["both", "mixed", "mean", "prompt"] = "mixed"
    layers: Layers | None = from_paper(None, "Layers to try; None tries all below the ceiling.")
    ceiling: Size = from_paper(7, "Number of lowest layers to try.")


@dataclass(frozen=True)
class LayerFit:
    """A layer tried for writing a fact.

    layer   its number
    score   ‖Δ‖_F / ‖W‖_F
    update  Δ as factors (d_out, r), (r, d_in)
    """

    layer: int
    score: float
    update: tuple[Tensor, Tensor]


class Wilke(Rome):
    """ROME with the layer chosen for each fact: the smallest relative update wins."""

    name = "wilke"
    title = "WilKE"
    paper = "Hu et al., WilKE: Wise-Layer Knowledge Editor, 2024 (arXiv:2402.10987)"
    Config = WilkeConfig
    config: WilkeConfig
    speed = "slow"

    def layers(self) -> Sequence[int]:
        """Return the layers to try, in ascending order."""
        c = self.config
        return sorted(c.layers or range(min(c.ceiling, self.lm.n_layers)))

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write the facts one after another, each in its own layer of the model edited so far."""
        templates = self.templates(after)
        chosen = list(after.memory.get(self.name, {}).get("layers", ()))
        for fact in steps(facts, f"{self.name}: facts"):
            # run ROME in every layer and write the smallest relative update
            best = min(self.matches(fact, after, templates), key=lambda match: match.score)
            after = add_low_rank(self.lm, after, {self.lm.mlp_out(best.layer): best.update})
            chosen.append(best.layer)
        memory = {"templates": templates, "layers": tuple(chosen)}
        return replace(after, memory={**after.memory, self.name: memory})

    def matches(
        self, fact: Fact, after: Patch = EMPTY, templates: tuple[str, ...] | None = None
    ) -> list[LayerFit]:
        """Return ROME's edit of the fact in every candidate layer and its score, in one search."""
        lm, config, layers = self.lm, self.config, self.layers()
        templates = self.templates(after) if templates is None else templates
        with lm.patched(after, only=True):
            targets = search_layers(lm, fact, layers, templates, self.config.search())
        found = []
        for layer, target in zip(layers, targets, strict=True):
            W = lm.weight(lm.mlp_out(layer), after).cpu()
            a, b = insert(W, target, self.moment(layer), config.keys)
            # ‖A B‖_F² = tr(AᵀA · BBᵀ): no matrix is formed
            size = ((a.T @ a) * (b @ b.T)).sum().clamp(min=0).sqrt()
            found.append(LayerFit(layer, (size / W.norm()).item(), (a, b)))
        return found
