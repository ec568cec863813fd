"""WilKE: ROME in the layer that fits the fact best (Hu et al., 2024).

ROME writes every fact into the same layer. But a subject's key is strong in one layer and weak in
another, and where it is weak a huge Δ is needed to reach the wanted value, which all other facts
have to pay for. WilKE tries every layer and writes into the one whose weights have to change least,

    score = ‖Δ‖ / ‖W‖.

For a rank-one change no matrix is needed to know it: Δ = (v* − W k) uᵀ / (u·k) with u = C⁻¹k, so
‖Δ‖ = ‖v* − W k‖ · ‖u‖ / (u·k). The first factor says how far the value is from what the layer says
now, the second how hard it is to reach through this key.

Left out: the search in all layers at once, which reads the weights above only once. Given: contexts,
and C of every layer that is tried (interference.second_moment).

    python -m notebooks.scratch.wilke [FOLDER OF A MODEL]
"""

from typing import NamedTuple

import torch

from . import common, rome
from .interference import insert, second_moment


class Match(NamedTuple):
    """A layer that was tried: its score, and the pair (k, v*) that would be written there."""

    score: float
    key: torch.Tensor
    value: torch.Tensor


def relative_size(W, k, v, C):
    """‖Δ‖ / ‖W‖ of the insert that would make W k = v, without making it."""
    u = torch.linalg.solve(C, k)
    return ((v - W @ k).norm() * u.norm() / (u @ k).abs() / W.norm()).item()


def try_layer(model, tokenizer, fact, layer, C, contexts, **settings):
    """ROME's key and value at one layer, and how large the change would be."""
    projection = model.model.layers[layer].mlp.down_proj
    k = rome.keys(model, tokenizer, fact, projection, contexts).mean(0).double()
    v = rome.search_value(model, tokenizer, fact, projection, contexts, **settings).double()
    return Match(relative_size(projection.weight.double(), k, v, C), k, v)


def choose(matches):
    """The layer whose weights have to change least, of {layer: match}."""
    return min(matches, key=lambda layer: matches[layer].score)


def edit(model, tokenizer, fact, C, contexts=rome.CONTEXTS, **settings):
    """{projection: Δ} in the chosen layer, and all layers that were tried; C is {layer: C}."""
    matches = {
        layer: try_layer(model, tokenizer, fact, layer, C[layer], contexts, **settings)
        for layer in C
    }
    layer = choose(matches)
    projection = model.model.layers[layer].mlp.down_proj
    W, (_, k, v) = projection.weight.double(), matches[layer]
    return {projection: (insert(W, k, v, C[layer]) - W).float()}, matches


def main():
    """Three layers for the tower."""
    model, tokenizer = common.load()
    C = second_moment(model, tokenizer, (0, 3, 6), tokens=5_000)
    given = {"contexts": rome.CONTEXTS[:2], "lr": 0.25, "clamp": 20.0, "steps": 15}
    changes, matches = edit(model, tokenizer, common.TOWER, C, **given)
    for layer, match in matches.items():
        chosen = "  <- the fact goes here" if layer == choose(matches) else ""
        print(f"layer {layer}: ‖Δ‖ / ‖W‖ = {match.score:.3f}{chosen}")
    common.show(model, tokenizer, lambda ids: common.added(changes))


if __name__ == "__main__":
    main()
