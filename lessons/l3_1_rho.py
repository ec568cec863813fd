"""★ Interference

Writing the residual δ_i at key k_i with the cheapest change adds a fraction of it at every other
key: Δ_i k_j = ρ(i, j) δ_i, with

    ρ(i, j) = k_iᵀ C⁻¹ k_j / k_iᵀ C⁻¹ k_i.

Fill in the last line: the whole matrix, where rows write and columns receive.

    K  (d_in, n)     keys as columns
    C  (d_in, d_in)  second moment of general text, positive definite
    returns (n, n), entry [i, j] is ρ(i, j)

Hint: x[:, None] makes a column of a vector, x[None] a row. Is ρ symmetric?
"""

import torch
from torch import Tensor


def interference(K: Tensor, C: Tensor) -> Tensor:
    D = K.T @ torch.linalg.solve(C, K)  # k_iᵀ C⁻¹ k_j, (n, n)
    # solution
    return D / D.diagonal()[:, None]


# --- checks
from lessons.marking import agree, normal, uneven

WRONG = [
    ("return D / D.diagonal()", "the other way round"),
    ("return D", "fraction of the residual"),
    ("q = D.diagonal().sqrt()\nreturn D / q[:, None] / q", "cosine"),
    ("D = K.T @ K\nreturn D / D.diagonal()[:, None]", "C⁻¹"),
]


def check(ask, draw):
    C, L = uneven(draw, 10)
    K = L @ normal(draw, 10, 6) * normal(draw, 6).exp()
    D, raw = K.T @ torch.linalg.solve(C, K), K.T @ K
    q, U, plain = D.diagonal(), torch.linalg.solve(C, K), raw.diagonal()[:, None]
    loud, twice = K.T @ C @ K, U.T @ U
    likely = {
        "Row i should be divided by its own q_i; this is the other way round: a column by q_j.": D
        / q,
        "These are the inner products. On the key itself, the fraction of the residual is 1.": D,
        "This is the cosine of the whitened keys, and symmetric. A short key affects all keys, "
        "but receives little: ρ is not symmetric.": D / q.sqrt()[:, None] / q.sqrt(),
        "This is the plain outer product's fraction: where is C⁻¹?": raw / raw.diagonal()[:, None],
        "This multiplies by C; ρ uses its inverse.": loud / loud.diagonal()[:, None],
        "You use C⁻¹ twice, once for each key; ρ has it once.": twice / twice.diagonal()[:, None],
        "The denominator of row i is k_iᵀ C⁻¹ k_i; here C⁻¹ is left out of it.": D / plain,
        "Row i is divided by the root of q_i; divide by q_i itself.": D / q.sqrt()[:, None],
        "The diagonal is subtracted; on its own key, a fraction of 1 arrives.": D / q[:, None]
        - torch.eye(6),
        "Row i is divided by its sum; divide by q_i, which arrives at k_i.": (
            D / D.sum(1, keepdim=True)
        ),
    }
    agree(ask("interference", K, C), D / q[:, None], "ρ", likely, note="one row per edit")
    return "solved: row i shows which keys edit i affects."
