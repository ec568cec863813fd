"""What an entity's bare embedding opens: edges read off the weights, without running the model.

Tools that "describe" an entity from weights alone take the mean of its raw token embeddings, ask in
every layer which features' gates point along it, and call the token that such a feature writes an
edge of the entity. Position, norm, attention, context and activation are left out, so an edge is
not what the model answers. It is here to be compared with what the model does answer.

Source: the rule of LARQL's DESCRIBE, from a description of its code. Its thresholds on the size of
a gate hold for another model; here the features with the largest gates of all layers are taken.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..data.facts import require_text
from ..errors import FamilyError
from ..model.lm import LM

PER_LAYER = 20  # features of a layer that are looked at, as published
LETTERS = 2  # a target with fewer letters is no content
ALSO = 4  # further tokens of a feature, among which some content makes a weak one coherent


class StaticEdge(NamedTuple):
    """A token that a feature writes whose gate points along the entity's embedding.

    token    the token, without white space.
    layer    the layer of the feature with the largest gate.
    feature  its number.
    gate     gate row times the mean embedding; its scale is that of this layer and model.
    """

    token: str
    layer: int
    feature: int
    gate: float


def static_edges(lm: LM, entity: str, most: int = 20) -> list[StaticEdge]:
    """The edges of an entity with the largest gates, each token once; the largest gate first.

    most  how many of them

    Left out are targets without two letters, parts of the entity's own name, and features whose
    further tokens have no content. Raises FactError for a blank entity, FamilyError for a family
    without a gate of its own.
    """
    name = require_text(entity, "the entity").strip()
    if len(lm.arch.mlp_in) != 2 or lm.arch.fused_in:
        raise FamilyError(f"{lm.name} has no gates of their own, from which edges could be read")
    ids = lm.tokenizer(name, add_special_tokens=False)["input_ids"]
    query = lm.model.get_submodule(lm.arch.embed).weight[ids].detach().float().mean(0).cpu()
    found: list[StaticEdge] = []
    for layer in range(lm.n_layers):
        gate = lm.weight(lm.arch.mlp_in[0].format(layer)).float().cpu() @ query  # (d_in,)
        scores, features = gate.topk(min(PER_LAYER, len(gate)))
        columns = lm.weight(lm.mlp_out(layer)).cpu()[:, features]  # (d_out, features)
        with torch.no_grad():
            written = lm.head(columns.T.to(lm.dtype)).topk(1 + ALSO).indices.tolist()
        for score, feature, tokens in zip(scores.tolist(), features.tolist(), written, strict=True):
            first, *also = [lm.tokenizer.decode([token]).strip() for token in tokens]
            own = first.casefold() in name.casefold()
            if _content(first) and not own and any(map(_content, also)):
                found.append(StaticEdge(first, layer, feature, score))
    found.sort(key=lambda edge: edge.gate, reverse=True)
    once: dict[str, StaticEdge] = {}
    for edge in found:
        once.setdefault(edge.token.casefold(), edge)
    return list(once.values())[:most]


def _content(token: str) -> bool:
    """Whether a token has letters enough to be a word or its beginning."""
    return sum(c.isalpha() for c in token) >= LETTERS
