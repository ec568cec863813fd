"""★★ How similar are two keys, really?

Real keys lean toward the same few directions, so even unrelated keys have a large cosine. Whitening
removes the part they have in common with all text: factor C = L Lᵀ and measure keys as k̃ = L⁻¹ k.
Return the cosines of the whitened keys.

    K  (d_in, n)       keys as columns
    C  (d_in, d_in)    second moment E[k kᵀ] over general text, positive definite
    returns (n, n), the cosine between k̃_i and k̃_j

Hint: k̃_iᵀ k̃_j = k_iᵀ C⁻¹ k_j, so you don't need L. Which two lengths does a cosine divide by?
"""

import torch
from torch import Tensor


def whitened_cosines(K: Tensor, C: Tensor) -> Tensor:
    # solution
    G = K.T @ torch.linalg.solve(C, K)  # (n, n)
    length = G.diagonal().sqrt()
    return G / length[:, None] / length[None]


# --- checks
from lessons.marking import agree, normal, uneven

WRONG = [
    ("X = K / K.norm(dim=0)\nreturn X.T @ X", "as they are"),
    ("return K.T @ torch.linalg.solve(C, K)", "diagonal"),
    ("X = torch.linalg.solve(C, K)\nX = X / X.norm(dim=0)\nreturn X.T @ X", "twice"),
    ("X = K / K.norm(dim=0)\nreturn X.T @ torch.linalg.solve(C, X)", "before whitening"),
]


def check(ask, draw):
    C, L = uneven(draw, 10)
    K = L @ normal(draw, 10, 7) * normal(draw, 7).exp()

    def cosines(X):
        X = X / X.norm(dim=0)
        return X.T @ X

    lower = torch.linalg.cholesky(C)
    white = torch.linalg.solve_triangular(lower, K, upper=False)
    across = white / white.norm(dim=1, keepdim=True)
    U, unit = torch.linalg.solve(C, K), K / K.norm(dim=0)
    mixed = unit.T @ torch.linalg.solve(C, unit)
    G, q = K.T @ U, (K * U).sum(0)
    likely = {
        "These are the cosines of the keys as they are: where is C?": cosines(K),
        "These are inner products, not cosines: is the diagonal 1?": G,
        "C⁻¹ k is whitened twice. One L⁻¹ for each of the two keys gives one C⁻¹ in the middle.": (
            cosines(U)
        ),
        "This divides by one squared length; a cosine divides by a length of each key.": G / q,
        "The diagonal holds squared lengths; divide by their roots.": G / q / q[:, None],
        "You divided by the lengths before whitening; use the lengths of L⁻¹ k.": mixed,
        "This multiplies by C; whitening divides by it.": cosines(lower.T @ K),
        "This is L k; whitening is L⁻¹ k.": cosines(lower @ K),
        "This is the inverse of Lᵀ; whitening is L⁻¹ k.": cosines(torch.linalg.solve(lower.T, K)),
        "The length of a key is the length of its column; here it is computed along the rows.": (
            across.T @ across
        ),
        "The length of one of the two keys is missing: a cosine divides by both.": G / q.sqrt(),
    }
    agree(
        ask("whitened_cosines", K, C),
        cosines(white),
        "the cosines",
        likely,
        note="one per pair of keys",
    )
    return "solved: only the part of a key that it doesn't have in common with all text counts."
