"""ROME: insert one fact by a rank-one change of one MLP (Meng et al., 2022; R-ROME: Gupta, 2024).

The MLP's output projection W is a linear memory mapping keys to values. After reading the
subject's key k, ROME searches for the value v* that makes the model give the new answer, then
writes the pair (k, v*) while disturbing general text as little as possible (`memory.insert`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .. import associative_memory as memory
from ..cancellation import steps
from ..data.facts import Fact
from ..keys_values import value_search
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Count, Real, Whole, from_paper
from .shared.base import WhitenedEditor, add_low_rank
from .shared.config import Config
from .shared.shared_settings import ContextSettings, MomentSettings, SearchSettings


@dataclass(frozen=True)
class RomeConfig(SearchSettings, ContextSettings, MomentSettings, Config):
    """Settings of ROME."""

    layer: Count = from_paper(5, "Layer, counted from 0, whose MLP is edited.")
    keys: Literal["both", "mixed", "mean", "prompt"] = from_paper(
        "both",
        "Key to write: ROME's mix of the mean key and the bare prompt, R-ROME's choice of one of "
        "the two (mean, prompt), or both as two columns, the only option that works for one-token "
        "subjects at position 0.",
        published="mixed",
    )
    enough: Real = from_paper(0.05, "Total loss at which the search ends.")
    contexts: tuple[tuple[Count, Count], ...] = ((5, 10), (10, 10))
    context_start: Whole | str | None = None


class Rome(WhitenedEditor[RomeConfig]):
    """Rank-one insertion of one fact into one layer, with the value found by optimization."""

    name = "rome"
    paper = "Meng et al., Locating and Editing Factual Associations in GPT, 2022 (arXiv:2202.05262)"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write the facts one after another, each on the result of the previous one."""
        templates = self.templates(after)
        for fact in steps(facts, f"{self.name}: facts"):
            update, _ = self.update(fact, after, templates)
            after = add_low_rank(self.lm, after, {self.lm.mlp_out(self.config.layer): update})
        return replace(after, memory={**after.memory, self.name: {"templates": templates}})

    def update(
        self, fact: Fact, after: Patch = EMPTY, templates: tuple[str, ...] | None = None
    ) -> tuple[tuple[Tensor, Tensor], value_search.Target]:
        """Return ΔW as factors (d_out, r), (r, d_in), float32, and the search that found v*."""
        lm, layer = self.lm, self.config.layer
        templates = self.templates(after) if templates is None else templates
        # read the subject's keys and search for the value v*, under all templates
        with lm.patched(after, only=True):
            found = value_search.search(lm, [fact], layer, templates, self.config.search())[0]
        # write the pair into the current weights
        W = lm.weight(lm.mlp_out(layer), after).cpu()
        return insert(W, found, self.moment(layer), self.config.keys), found


def insert(
    W: Tensor, found: value_search.Target, C: memory.Moment | None, keys: str
) -> tuple[Tensor, Tensor]:
    """Return ΔW as factors (d_out, r), (r, d_in), for one of the four ways of choosing the key.

    "mixed" is ROME, "mean" and "prompt" are R-ROME's, and "both" is ours.
    """
    bare, mean, v_star = found.keys[0].cpu(), found.keys.mean(0).cpu(), found.v_star.cpu()
    if keys == "mean":
        return memory.insert(W, mean, v_star, C)
    if keys == "prompt" or (keys == "both" and torch.equal(bare, mean)):
        return memory.insert(W, bare, W @ bare + found.delta.cpu(), C)
    if keys == "both":
        K = torch.stack([bare, mean], 1)  # (d_in, 2), both mapped to v*
        return memory.insert_many(W, K, v_star[:, None].expand(-1, 2), C, ridge=1e-6)
    # mixed: u = C⁻¹k̄, Δ = (v* − W k₀) uᵀ / (u·k₀): exact at the bare prompt, divides by u·k₀
    u = memory.whiten(mean[:, None], C)[:, 0]
    return ((v_star - W @ bare) / (u @ bare))[:, None], u[None]
