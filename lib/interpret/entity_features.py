"""The features that an entity opens, what they write, and what the answers are without them.

A feature is one input of the MLP's output projection W: k_f times column f of W is what it adds to
the stream. Tools that list features of an entity read them from its bare embedding, without context
and without the activation; here they are read where they act, at the entity's last token behind
neutral texts, and beside other entities. No feature says what the model answers: for that it is set
to zero, and the change of the answers' lift is measured, beside that of features drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from ..data.relations import Relation, bare
from ..editors.shared.base import add_low_rank
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .entity_keys import CONTEXTS, layers_to_see, other_entities, part_below, read_keys

OTHERS = 20  # entities whose features are compared
TOP = 20  # features whose share of the output is given
SHOWN = 5  # features that are listed
TOKENS = 4  # that a feature writes up, and down
ZEROED = 3  # features that are set to zero, and as many drawn at random
ASKED = 3  # relations whose lift is then measured
BESIDE = 4  # other subjects of each of them
MOST = 0.5  # of the others for which a feature may be on top


@dataclass(frozen=True)
class Feature:
    """One feature that an entity opens.

    number  its place among the inputs of the output projection.
    size    |k_f|·‖W_f‖, mean over the contexts.
    part    share of the other entities for which it is smaller.
    up      tokens that what it adds makes more probable, by the logit lens.
    down    tokens that it makes less probable.
    change  with this feature set to zero, the lift of the answers minus that before, in nats; None
            where that was not measured.
    """

    number: int
    size: float
    part: float
    up: tuple[str, ...]
    down: tuple[str, ...]
    change: float | None = None


@dataclass(frozen=True)
class Features:
    """The features that an entity opens most in one layer.

    layer    the layer.
    share    ‖Σ k_f W_f‖² of the twenty largest over ‖W k‖², for the mean key over the contexts.
    part     share of the other entities with a smaller one.
    usual    the median of it over the others.
    dropped  features left out of `top`, because they are among the twenty of most others.
    top      the five largest of the rest.
    others   how many others there are.
    """

    layer: int
    share: float
    part: float
    usual: float
    dropped: int
    top: tuple[Feature, ...]
    others: int


def features(
    lm: LM, entity: str, patch: Patch = EMPTY, layers: Sequence[int] | None = None
) -> tuple[Features, ...]:
    """The features that the entity opens most in some layers, beside 20 other entities.

    layers  None takes `layers_to_see`
    """
    where = layers_to_see(lm, patch) if layers is None else list(layers)
    others = other_entities(entity, OTHERS)
    K = read_keys(lm, [entity.strip(), *others], CONTEXTS, where, patch)
    return tuple(_features(lm, layer, K[layer], patch) for layer in where)


def without_features(lm: LM, layer: int, which: Sequence[int], patch: Patch = EMPTY) -> Patch:
    """A patch under which some features of a layer add nothing: their columns of W are zero."""
    module = lm.mlp_out(layer)
    W = lm.weight(module, patch).cpu()
    rows = torch.zeros(len(which), W.shape[1])
    rows[range(len(which)), list(which)] = 1.0
    return add_low_rank(lm, patch, {module: (-W[:, list(which)], rows)})


def lift(
    lm: LM, entity: str, asked: Sequence[Relation], tokens: Sequence[int], patch: Patch
) -> float:
    """Mean over relations of log p of a token for the entity minus its mean over others, nats.

    asked   relations, in their first wording
    tokens  for each of them the token whose probability is read
    """
    prompts, sizes = [], []
    for relation in asked:
        names = [s for s, _ in relation.answers if bare(s) != bare(entity)][:BESIDE]
        prompts += [relation.ask(relation.templates[0], name) for name in (entity, *names)]
        sizes.append(1 + len(names))
    with lm.patched(patch, only=True):
        table = lm.next_token(prompts)
    total = 0.0
    for rows, token in zip(table.split(sizes), tokens, strict=True):
        total += (rows[0, token] - (rows[1:, token].mean() if len(rows) > 1 else 0.0)).item()
    return total / len(asked)


def measured(
    lm: LM,
    entity: str,
    found: Sequence[Features],
    asked: Sequence[Relation],
    patch: Patch = EMPTY,
    seed: int = 0,
) -> tuple[tuple[Features, ...], float | None]:
    """(the features, the three largest of them with their `change`; `Inside.chance`).

    asked  the relations that are answered consistently; without any nothing is measured
    seed   of the draw of features for the comparison, as many as are measured
    """
    places = sorted(
        ((one.size, layer.layer, one.number) for layer in found for one in layer.top), reverse=True
    )[:ZEROED]
    if not asked or not places:
        return tuple(found), None
    some = list(asked)[:ASKED]
    with lm.patched(patch, only=True):
        first = [relation.ask(relation.templates[0], entity) for relation in some]
        tokens = lm.next_token(first).argmax(1).tolist()
    usual = lift(lm, entity, some, tokens, patch)

    def change(layer: int, number: int) -> float:
        now = without_features(lm, layer, [number], patch)
        return lift(lm, entity, some, tokens, now) - usual

    changes = {(layer, number): change(layer, number) for _, layer, number in places}
    draw, width = random.Random(seed), lm.weight(lm.mlp_out(places[0][1])).shape[1]
    drawn = [
        (layer, draw.choice([f for f in range(width) if (layer, f) not in changes]))
        for _, layer, _ in places
    ]
    chance = max(abs(change(*place)) for place in drawn)
    return tuple(_with(layer, changes) for layer in found), chance


def _features(lm: LM, layer: int, K: Tensor, patch: Patch) -> Features:
    """The features of one layer from keys (names, contexts, d_in), the entity's first."""
    W = lm.weight(lm.mlp_out(layer), patch).cpu()  # (d_out, d_in)
    sizes = K.abs().mean(1) * W.norm(dim=0)  # (names, d_in): |k_f|·‖W_f‖
    mean, top = K.mean(1), sizes.topk(min(TOP, K.shape[2])).indices
    shares = torch.tensor([explained(W, k, which) for k, which in zip(mean, top, strict=True)])
    often = torch.zeros(K.shape[2]).index_add_(0, top[1:].flatten(), torch.ones(top[1:].numel()))
    common = often > MOST * (len(K) - 1)
    mine = [f for f in top[0].tolist() if not common[f]]
    shown = []
    for f in mine[:SHOWN]:
        added = W[:, f] * mean[0, f].sign()
        up, down = _lens(lm, added), _lens(lm, -added)
        shown.append(Feature(f, sizes[0, f].item(), part_below(sizes[:, f]), up, down))
    return Features(
        layer,
        shares[0].item(),
        part_below(shares),
        median(shares[1:].tolist()),
        len(top[0]) - len(mine),
        tuple(shown),
        len(K) - 1,
    )


def explained(W: Tensor, k: Tensor, which: Tensor) -> float:
    """‖Σ k_f W_f‖² over some features, as a share of ‖W k‖²; all features give 1.

    It is no share of a sum: what features add may cancel, so that it can be above 1.
    """
    whole = (W @ k).square().sum().item()
    return (W[:, which] @ k[which]).square().sum().item() / whole if whole else 0.0


def _lens(lm: LM, direction: Tensor) -> tuple[str, ...]:
    """The tokens that a direction of the stream makes most probable, by final norm and head."""
    norm = lm.model.get_submodule(lm.arch.final_norm)
    weight = next(norm.parameters())
    with torch.no_grad():
        logits = lm.head(norm(direction.to(weight.device, weight.dtype)[None]))[0]
    return tuple(lm.tokenizer.decode([i]).strip() for i in logits.topk(TOKENS).indices.tolist())


def _with(layer: Features, changes: Mapping[tuple[int, int], float]) -> Features:
    """The features of a layer with the changes that were measured."""
    top = (replace(one, change=changes.get((layer.layer, one.number))) for one in layer.top)
    return replace(layer, top=tuple(top))
