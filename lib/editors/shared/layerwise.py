"""The loop of the MEMIT family, searching for values at the last layer and writing into several.

Every method of the family searches for the state z that the last edited layer should output. It
then goes through its layers from the lowest to the highest. At each layer, it divides the
difference R that is still missing at the top by the number of layers left, and writes it at this
layer's keys, Δ = R B. The methods differ in three steps, which subclasses override: `values`
searches, `solve` computes B from the keys, and `remember` returns the memory for later batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from ... import associative_memory as memory
from ...data.facts import Fact
from ...keys_values import value_search
from ...keys_values.value_search import Site, Target
from ...patch.patch import EMPTY, Patch
from ...setting_fields import Amount, Count, Layers, from_paper, ours
from .base import WhitenedEditor, add_low_rank, mlp_outputs
from .config import Config
from .shared_settings import ContextSettings, MomentSettings, SearchSettings


@dataclass(frozen=True)
class LayerwiseConfig(SearchSettings, ContextSettings, MomentSettings, Config):
    """Settings of the MEMIT family."""

    layers: Layers = from_paper(
        (5,), "Edited layers, ascending; values are searched at the last of them."
    )
    strength: Amount = from_paper(
        15_000.0, "Number λ of samples of general text weighed against the new facts."
    )
    keep_keys: bool = from_paper(
        False,
        "Whether the keys of earlier batches are also preserved, so that later edits do not "
        "disturb them.",
    )
    steps: Count = 25
    clamp: Amount = 0.75
    contexts: tuple[tuple[Count, Count], ...] = ((10, 5),)

    # our addition

    values_on: Literal["current", "base"] = ours(
        "current", "Model used for searching the values: the edited model, or the base model."
    )


L = TypeVar("L", bound=LayerwiseConfig)


class LayerwiseEditor(WhitenedEditor[L]):
    """A method spreading a change of the last layer over several layers (MEMIT, Algorithm 1)."""

    site: Site = "block"  # where z is searched and the residual is measured

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write the whole batch, layer by layer, starting from the lowest."""
        state, lm, layers = after.memory.get(self.name, {}), self.lm, self.config.layers
        names, templates = mlp_outputs(lm, layers), self.templates(after)
        patch = after
        if not lm.arch.post_norm:
            # search for the states z at the last layer
            with lm.patched(after if self.config.values_on == "current" else EMPTY, only=True):
                found = self.values(facts, layers[-1], templates)
            z = torch.stack([target.v_star for target in found], 1).cpu()  # (d_out, n)
        for i, layer in enumerate(layers):
            with lm.patched(patch, only=True):
                if lm.arch.post_norm:
                    # a change reaches the layers above only through a norm, so it cannot be spread
                    # over several layers: each layer writes its own value
                    found = self.values(facts, layer, templates)
                    K = self.key(torch.stack([target.keys for target in found], 1))
                    R = torch.stack([target.delta for target in found], 1).cpu()
                else:
                    # read this layer's keys and the last layer's states, given the previous layers'
                    # changes; R = (z − h) / layers left, so the last layer writes the whole rest
                    K, h = self.keys_and_states(facts, layer, templates)
                    R = self.residual(z - h, len(layers) - i)
            # Δ = R B
            B = self.solve(layer, K.double(), state)
            patch = add_low_rank(lm, patch, {names[layer]: (R, B)})
        state = {**state, **self.remember(facts, patch, state, templates), "templates": templates}
        return replace(patch, memory={**after.memory, self.name: state})

    def values(self, facts: list[Fact], layer: int, templates: tuple[str, ...]) -> list[Target]:
        """Return the values at a layer of the model as patched now."""
        settings = self.config.search()
        return value_search.search(self.lm, facts, layer, templates, settings, self.site)

    def solve(self, layer: int, K: Tensor, state: Mapping[str, Any]) -> Tensor:
        """Return MEMIT's B = Kᵀ(λC + Kp Kpᵀ + K Kᵀ)⁻¹ (n, d_in) for the keys K (d_in, n); Δ = R B.

        Both are float64. Kp are the keys of earlier batches, if they are kept.
        """
        earlier = earlier_keys(state, layer)
        return memory.reach(K, self.moment(layer), self.config.strength, earlier)

    def remember(
        self, facts: list[Fact], patch: Patch, state: Mapping[str, Any], templates: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return the memory for later batches: all layers' keys, read again on the edited model."""
        if not self.config.keep_keys:
            return {}
        names = {layer: self.lm.mlp_out(layer) for layer in self.config.layers}
        with self.lm.patched(patch, only=True):
            seen = self.lm.at_subjects(facts, list(names.values()), templates)
        old = state.get("keys", {})
        keys = {
            str(layer): with_keys(old.get(str(layer), ()), self.key(seen[name]))
            for layer, name in names.items()
        }
        return {"keys": keys}

    def residual(self, rest: Tensor, left: int) -> Tensor:
        """Return this layer's part of the rest (d_out, n), with `left` layers to go."""
        return rest / left

    def keys_and_states(
        self, facts: list[Fact], layer: int, templates: tuple[str, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return keys K (d_in, n) at `layer` and last-layer states h (d_out, n), as patched now."""
        name, top = self.lm.mlp_out(layer), self.lm.above(self.config.layers[-1])
        if len(templates) == 1:
            seen = self.lm.at_subjects(facts, [name, top])
            return self.key(seen[name]), seen[top][0].T.cpu()
        seen = self.lm.at_subjects(facts, [name], templates)
        return self.key(seen[name]), self.lm.at_subjects(facts, [top])[top][0].T.cpu()

    def key(self, seen: Tensor) -> Tensor:
        """Return keys under all templates (t, n, d_in) as K (d_in, n); the bare prompt is half."""
        seen = seen.cpu()
        bare = seen[0].T
        return bare if len(seen) == 1 else (bare + seen[1:].mean(0).T) / 2


def earlier_keys(state: Mapping[str, Any], layer: int) -> Tensor | None:
    """Return Kp (d_in, m) of earlier batches, or a factor with equal Kp Kpᵀ; None before any."""
    parts = state.get("keys", {}).get(str(layer), ())
    return torch.cat(parts, 1).double() if parts else None


def with_keys(old: tuple[Tensor, ...], K: Tensor) -> tuple[Tensor, ...]:
    """Return parts of kept keys sharing storage with the previous patch.

    There are at most 2 d_in columns.
    """
    parts = (*old, K)
    if sum(part.shape[1] for part in parts) <= 2 * len(K):
        return parts
    G = torch.cat(parts, 1).double()
    values, vectors = torch.linalg.eigh(G @ G.T)  # F Fᵀ = Kp Kpᵀ with d_in columns
    return ((vectors * values.clamp(min=0).sqrt()).float(),)
