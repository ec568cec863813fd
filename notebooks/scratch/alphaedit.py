"""AlphaEdit: write where general text has no say, and keep the keys of earlier edits (Fang, 2025).

Batch after batch, MEMIT disturbs what it has written before. Two remedies, which can be had apart:

    the projector   Δ may only act on directions that keys of general text hardly use: Δ = Y Qᵀ,
                    where the columns of Q are the eigenvectors of C with small eigenvalues
    the kept keys   the keys K_p of earlier edits stand in the inverse as well, so that the new
                    change says nothing at them

With the kept keys alone this is recursive least squares: batches written one after another give
the same matrix as all facts in one batch (`fold`).

Left out: a bound on the number of kept keys, and the removal of single facts. Given: contexts, and
C of every layer. The published threshold is an eigenvalue of 0.02; keys of this model are shorter,
so a share of the directions is taken.

    python -m notebooks.scratch.alphaedit [FOLDER OF A MODEL]
"""

import torch

from . import common
from .interference import second_moment
from .memit import FACTS, mean_keys, search_states, spread
from .rome import CONTEXTS


def null_space(C, share):
    """Q (d_in, r): the eigenvectors of C with the smallest eigenvalues, a share of all of them."""
    _, vectors = torch.linalg.eigh(C)  # ascending
    return vectors[:, : round(share * len(C))]


def insert_kept(K, R, M):
    """Δ (d_out, d_in) that adds R (d_out, n) at K (d_in, n), against all that M stands for.

    M = λC + K_p K_pᵀ holds the general text and every key written so far:
    Δ = R Kᵀ (λC + K_p K_pᵀ + K Kᵀ)⁻¹.
    """
    return torch.linalg.solve(M + K @ K.T, K @ R.T).T


def insert_null(K, R, Q, L2, kept):
    """The same inside the null space: the smaller problem in coordinates Qᵀk, with λC = L2·I there.

    kept (d_in, m) are the keys of earlier edits; Δ = R (QᵀK)ᵀ (L2·I + QᵀK_pK_pᵀQ + QᵀKKᵀQ)⁻¹ Qᵀ.
    """
    inside, earlier = Q.T @ K, Q.T @ kept  # (r, n), (r, m)
    M = L2 * torch.eye(Q.shape[1], dtype=Q.dtype) + earlier @ earlier.T
    return insert_kept(inside, R, M) @ Q.T


def fold(W, batches, C, weight):
    """W after batches of pairs (K, V), one after another, all keys kept.

    It equals `fold(W, [all pairs], C, weight)`: each batch solves the whole problem so far.
    """
    M = weight * C
    for K, V in batches:
        W = W + insert_kept(K, V - W @ K, M)
        M = M + K @ K.T  # from now on these keys are kept
    return W


def edit(model, tokenizer, facts, layers, Q, L2, kept, contexts=CONTEXTS, **settings):
    """One batch: {projection: Δ}, and the keys that the next batch has to keep.

    Q and kept are {layer: (d_in, r)} and {layer: (d_in, m)}, m = 0 before the first batch. The
    model holds the earlier batches (`common.added`).
    """
    Z = search_states(model, tokenizer, facts, layers[-1], contexts, **settings)

    def solve(layer, K, R):
        return insert_null(K, R, Q[layer], L2, kept[layer])

    changes = spread(model, tokenizer, facts, layers, Z, solve, contexts)
    with common.added(changes):  # keys move when layers below are written, so they are read again
        new = {layer: mean_keys(model, tokenizer, facts, layer, contexts) for layer in layers}
    return changes, {layer: torch.cat([kept[layer], new[layer]], 1) for layer in layers}


def main():
    """Two batches, the second after the first, into two layers."""
    layers = (4, 5)
    model, tokenizer = common.load()
    C = second_moment(model, tokenizer, layers)
    Q = {layer: null_space(C[layer], share=0.8) for layer in layers}
    for layer in layers:
        inside = (Q[layer].T @ C[layer] @ Q[layer]).trace() / C[layer].trace()
        print(f"layer {layer}: 80 % of the directions hold {inside:.1%} of general text")
    kept = {layer: torch.zeros(len(C[layer]), 0, dtype=torch.float64) for layer in layers}
    given = {"L2": 10.0, "contexts": CONTEXTS[:2], "steps": 15, "clamp": 0.75}
    first, kept = edit(model, tokenizer, FACTS[:1], layers, Q, kept=kept, **given)
    with common.added(first):
        second, kept = edit(model, tokenizer, FACTS[1:2], layers, Q, kept=kept, **given)
    both = {projection: first[projection] + second[projection] for projection in first}
    common.show(model, tokenizer, lambda ids: common.added(both), {"fact 2": FACTS[1].text})


if __name__ == "__main__":
    main()
