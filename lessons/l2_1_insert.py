"""★ Write one pair

The memory W is in use. From now on, it should map the key k to v, disturbing everything else that
it holds as little as possible. You derived the cheapest change:

    Δ = δ uᵀ / q     with the residual δ = v − W k, u = C⁻¹ k, q = kᵀ u

Fill in the last line: return the new matrix W + Δ.

    W  (d_out, d_in)     k  (d_in,)     v  (d_out,)
    C  (d_in, d_in)      second moment of the keys in general text, positive definite
    returns (d_out, d_in)

Hint: torch.outer(a, b) is a bᵀ.
"""

import torch
from torch import Tensor


def insert(W: Tensor, k: Tensor, v: Tensor, C: Tensor) -> Tensor:
    u = torch.linalg.solve(C, k)  # C⁻¹ k, (d_in,)
    # solution
    return W + torch.outer(v - W @ k, u) / (k @ u)


# --- checks
from lessons.marking import agree, normal, uneven

WRONG = [
    ({"u) / (k @ u)": "k) / (k @ k)"}, "where is C"),
    ({"v - W @ k": "v"}, "residual"),
    ({"(k @ u)": "(k @ k)"}, "kᵀ u"),
    ({"W + ": ""}, "only Δ"),
    ({"v - W @ k, u": "u, v - W @ k"}, "transposed"),
]


def check(ask, draw):
    for d_out, d_in in ((6, 6), (5, 8)):  # a transposed product can only be added to a square
        C, L = uneven(draw, d_in)
        W, k, v = normal(draw, d_out, d_in), L @ normal(draw, d_in), normal(draw, d_out)
        u = torch.linalg.solve(C, k)
        delta, wanted = v - W @ k, W + torch.outer(v - W @ k, u) / (k @ u)
        likely = {
            "W' k is v, but other keys change more than necessary: you use k instead of u = C⁻¹ "
            "k. Where is C?": W + torch.outer(delta, k) / (k @ k),
            "W' k is W k + v: add the residual, the missing part v − W k.": W
            + torch.outer(v, u) / (k @ u),
            "Δ has the wrong length: Δ k must be δ, so divide by kᵀ u.": W
            + torch.outer(delta, u) / (k @ k),
            "This is divided by uᵀ u: Δ k must be δ, so divide by kᵀ u.": W
            + torch.outer(delta, u) / (u @ u),
            "You don't divide, so Δ k is q δ. Divide by q = kᵀ u.": W + torch.outer(delta, u),
            "This multiplies by C: u is C⁻¹ k, not C k.": W
            + torch.outer(delta, C @ k) / (k @ C @ k),
            "The outer product is transposed: Δ is δ uᵀ, with rows like δ.": (
                W + torch.outer(u, delta).reshape(W.shape) / (k @ u)
            ),
            "This is only Δ: the rest of the memory is gone.": wanted - W,
            "Δ has the wrong sign: the residual is the missing part, v − W k.": 2 * W - wanted,
        }
        agree(ask("insert", W, k, v, C), wanted, "W'", likely)
    return "solved: k gives v, and general text changes no more than necessary."
