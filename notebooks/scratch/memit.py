"""MEMIT: many facts at once, spread over several layers (Meng et al., 2023).

ROME asks for W k = v* exactly, so every fact takes what it wants from general text. MEMIT weighs
the two against each other in one least-squares problem for all facts,

    min  λ · tr(Δ C Δᵀ) + ‖Δ K − R‖²        with  Δ = R Kᵀ (λC + K Kᵀ)⁻¹,

where R is what is missing at the keys K. And it asks several layers to carry the change: the value
z is searched for the output of the last block, each layer from below adds its share of the rest,
and the next one looks again at what is still missing.

Left out: batches of searches, removal of single facts, families with a norm behind the MLP. Given:
contexts, and C of every layer (interference.second_moment).

    python -m notebooks.scratch.memit [FOLDER OF A MODEL]
"""

from contextlib import ExitStack

import torch

from . import common
from .interference import second_moment
from .rome import CONTEXTS, keys, search_value

FACTS = (
    common.TOWER,
    common.Fact("Akira Kurosawa", "{} grew up in the country of", "Brazil"),
    common.Fact("The theory of evolution", "{} was discovered by", "Albert Einstein"),
)
OTHERS = {f"fact {i}": fact.text for i, fact in enumerate(FACTS[1:], 2)}


def insert_many(K, R, C, weight):
    """Δ (d_out, d_in) that adds R (d_out, n) at the keys K (d_in, n) as far as λC allows.

    Gradient zero: Δ (λC + K Kᵀ) = R Kᵀ. A fact with kᵀC⁻¹k = λ is half written; with weight → 0
    and one fact it is ROME.
    """
    return torch.linalg.solve(weight * C + K @ K.T, K @ R.T).T


def mean_keys(model, tokenizer, facts, layer, contexts):
    """One key per fact, K (d_in, n): half the bare prompt's, half the mean of the other contexts."""
    projection, columns = model.model.layers[layer].mlp.down_proj, []
    for fact in facts:
        bare, *others = keys(model, tokenizer, fact, projection, contexts)
        columns.append((bare + sum(others) / len(others)) / 2 if others else bare)
    return torch.stack(columns, 1).double()


def states(model, tokenizer, facts, layer):
    """What the block puts out at the subjects' last tokens, H (d_out, n)."""
    rows, at = zip(*(common.subject_end(tokenizer, fact) for fact in facts), strict=True)
    [(_, outputs)] = common.watch(model, common.padded(rows), model.model.layers[layer])
    return outputs[range(len(rows)), list(at)].T.double()


def search_states(model, tokenizer, facts, layer, contexts=CONTEXTS, **settings):
    """Z (d_out, n): what the last block should put out, by ROME's search behind the whole block."""
    block = model.model.layers[layer]
    found = [search_value(model, tokenizer, f, block, contexts, **settings) for f in facts]
    return torch.stack(found, 1).double()


def spread(model, tokenizer, facts, layers, Z, solve, contexts=CONTEXTS):
    """{projection: Δ}: every layer writes its share of what is missing at the last one.

    solve(layer, K, R) gives Δ (d_out, d_in); MEMIT's is `insert_many`. The model is unchanged
    afterwards.
    """
    changes = {}
    with ExitStack() as written:  # a layer sees the changes of those below it
        for i, layer in enumerate(layers):
            K = mean_keys(model, tokenizer, facts, layer, contexts)
            missing = Z - states(model, tokenizer, facts, layers[-1])
            change = solve(layer, K, missing / (len(layers) - i)).float()  # the last takes the rest
            projection = model.model.layers[layer].mlp.down_proj
            changes[projection] = change
            written.enter_context(common.added({projection: change}))
    return changes


def edit(model, tokenizer, facts, layers, C, weight, contexts=CONTEXTS, **settings):
    """{projection: Δ} that writes all facts; C is {layer: (d_in, d_in)}."""
    Z = search_states(model, tokenizer, facts, layers[-1], contexts, **settings)

    def solve(layer, K, R):
        return insert_many(K, R, C[layer], weight)

    return spread(model, tokenizer, facts, layers, Z, solve, contexts)


def main():
    """Three facts into three layers."""
    layers = (3, 4, 5)
    model, tokenizer = common.load()
    C = second_moment(model, tokenizer, layers)
    given = {"weight": 1000.0, "contexts": CONTEXTS[:2], "steps": 12, "clamp": 0.75}
    changes = edit(model, tokenizer, FACTS, layers, C, **given)
    for layer, (projection, change) in zip(layers, changes.items(), strict=True):
        print(f"layer {layer}: ‖Δ‖ / ‖W‖ = {change.norm() / projection.weight.norm():.3f}")
    common.show(model, tokenizer, lambda ids: common.added(changes), OTHERS)


if __name__ == "__main__":
    main()
