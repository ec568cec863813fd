"""ROME: insert one fact by a rank-one change of one MLP (Meng et al., 2022; R-ROME: Gupta, 2024).

The MLP's output projection W is a linear memory. Read the subject's key k, search the value v* that
makes the model give the new answer, and write the pair with the least disturbance of general text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .. import memory
from ..data.facts import Fact
from ..errors import EditError
from ..keys_values import context_templates as contexts
from ..keys_values import target_value
from ..keys_values.second_moment import second_moment
from ..patch.patch import EMPTY, Patch
from .shared.base import Editor, add_low_rank
from .shared.config import Config


@dataclass(frozen=True)
class RomeConfig(Config):
    """Settings of ROME.

    keys: which key is written. "mixed": as published, the direction from the mean over templates
    and the residual from the bare prompt. "mean", "prompt": R-ROME, one of the two everywhere.
    "both": the two as two columns of one hard insert, the default: it alone writes prompt and
    rewordings of a one-token subject at position 0 (tests/benchmarks/rome_keys.json).
    templates: given contexts; None: `contexts` written by the base model, (tokens, how many).
    context_start: token id they start from, None for end of text; context_top_k: sampling, 0 for
    the whole vocabulary.
    second_moment: False takes C = I. text: file for C, None for the one shipped here.
    """

    layer: int = 5
    keys: Literal["both", "mixed", "mean", "prompt"] = "both"
    v_lr: float = 0.5
    steps: int = 20
    decay: float = 0.5
    clamp: float = 4.0
    kl_factor: float = 0.0625
    target_eos: bool = False
    templates: tuple[str, ...] | None = None
    contexts: tuple[tuple[int, int], ...] = ((5, 10), (10, 10))
    context_start: int | None = None
    context_top_k: int = 5
    second_moment: bool = True
    text: str | None = None
    tokens: int | None = None
    damping: float = 1e-4


class Rome(Editor):
    """Rank-one insert of one fact into one layer, with the value found by optimization."""

    name = "rome"
    paper = "Meng et al., Locating and Editing Factual Associations in GPT, 2022 (arXiv:2202.05262)"
    Config = RomeConfig
    config: RomeConfig
    needs_subject = True
    geometry = "whitened"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """One fact after another, each on the result of the one before."""
        templates = self.templates(after)
        for fact in facts:
            update, _ = self.update(fact, after, templates)
            after = add_low_rank(self.lm, after, {self.lm.mlp_out(self.config.layer): update})
        return Patch(
            after.weights, after.routes, after.rewrites,
            {**after.memory, self.name: {"templates": templates}}, after.log, after.base,
        )  # fmt: skip

    def templates(self, after: Patch = EMPTY) -> tuple[str, ...]:
        """The context templates: given, kept from an earlier edit, or written by the base model."""
        kept = after.memory.get(self.name, {}).get("templates")
        return contexts.of(self.lm, self.config, kept)

    def update(
        self, fact: Fact, after: Patch = EMPTY, templates: tuple[str, ...] | None = None
    ) -> tuple[tuple[Tensor, Tensor], target_value.Target]:
        """ΔW as factors (d_out, r), (r, d_in), float32, and the search that found v*."""
        lm, layer = self.lm, self.config.layer
        templates = self.templates(after) if templates is None else templates
        with lm.patched(after, only=True):
            found = target_value.search(lm, [fact], layer, templates, self.search())[0]
        W = lm.weight(lm.mlp_out(layer), after).cpu()
        return insert(W, found, self.moment(layer), self.config.keys), found

    def search(self) -> target_value.Search:
        """The settings of the search for v*."""
        c = self.config
        return target_value.Search(
            c.v_lr, c.steps, c.decay, c.clamp, c.kl_factor, target_eos=c.target_eos
        )

    def moment(self, layer: int) -> memory.Moment | None:
        """C of a layer, None for the identity."""
        c = self.config
        if not c.second_moment:
            return None
        return second_moment(self.lm, [layer], c.text, c.tokens, c.damping)[layer]


def insert(
    W: Tensor, found: target_value.Target, C: memory.Moment | None, keys: str
) -> tuple[Tensor, Tensor]:
    """ΔW (d_out, d_in) as factors, for one of the four ways to choose the key."""
    bare, mean, v_star = found.keys[0].cpu(), found.keys.mean(0).cpu(), found.v_star.cpu()
    if keys == "mean":
        return memory.insert(W, mean, v_star, C)
    if keys == "prompt" or (keys == "both" and torch.equal(bare, mean)):
        return memory.insert(W, bare, W @ bare + found.delta.cpu(), C)
    if keys == "both":
        K = torch.stack([bare, mean], 1)  # (d_in, 2), both mapped to v*
        return memory.insert_many(W, K, v_star[:, None].expand(-1, 2), C, ridge=1e-6)
    if keys == "mixed":
        # u = C⁻¹k̄, Δ = (v* − W k₀) uᵀ / (u·k₀): exact at the bare prompt, divides by u·k₀
        u = memory.whiten(mean[:, None], C)[:, 0]
        return ((v_star - W @ bare) / (u @ bare))[:, None], u[None]
    raise EditError(f"keys must be both, mixed, mean or prompt, not '{keys}'")
