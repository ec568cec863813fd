"""★ Many pairs, weighed

A hundred facts shall go into one matrix, and general text shall not suffer. Put both into one sum
of squares, where λ says how many tokens of text the new pairs are weighed against:

    min over Δ of   λ tr(Δ C Δᵀ) + ‖(W + Δ) K − V‖²

Setting the gradient to zero gives Δ (λ C + K Kᵀ) = R Kᵀ: MEMIT. Fill in the last line, return Δ.

    W  (d_out, d_in)     K (d_in, n)     V (d_out, n)     lam: a number, λ
    C  (d_in, d_in)      second moment of general text, positive definite
    returns (d_out, d_in), the change Δ alone

R is what is missing at the keys. What is that?

Hint: torch.linalg.solve(A, B) is the X with A X = B; here the unknown stands on the left.
"""

import torch
from torch import Tensor


def memit(W: Tensor, K: Tensor, V: Tensor, C: Tensor, lam: float) -> Tensor:
    M = lam * C + K @ K.T  # (d_in, d_in), symmetric
    # solution
    return torch.linalg.solve(M, K @ (V - W @ K).T).T


# --- checks
from lessons.marking import agree, normal, uneven

WRONG = [
    ({"V - W @ K": "V"}, "missing"),
    ({").T).T": ").T)"}, "transposed"),
    ({"return ": "return W + "}, "Δ alone"),
    ("return (V - W @ K) @ K.T @ M", "divided"),
    ({"solve(M": "solve(K @ K.T + 1e-9 * C"}, "text"),
]


def check(ask, draw):
    for d_in, d_out, n in ((7, 4, 5), (6, 3, 20)):
        C, L = uneven(draw, d_in)
        W, K, V = normal(draw, d_out, d_in), L @ normal(draw, d_in, n), normal(draw, d_out, n)
        R, M = V - W @ K, 2.5 * C + K @ K.T
        wanted = torch.linalg.solve(M, K @ R.T).T
        exact = torch.linalg.solve(K @ K.T + 1e-9 * C, K @ R.T).T
        likely = {
            "This writes all of V on top of what W says already: R is what is missing, V − W K.": (
                torch.linalg.solve(M, K @ V.T).T
            ),
            "This is the new matrix; asked for is Δ alone.": W + wanted,
            "Only λ C is divided out; the new keys belong into M as well, K Kᵀ.": (
                torch.linalg.solve(2.5 * C, K @ R.T).T
            ),
            "C stands here without its λ.": torch.linalg.solve(C + K @ K.T, K @ R.T).T,
            "These are outer products, R Kᵀ: M has to be divided out.": R @ K.T,
            "The sign: R is what is missing, V − W K.": -wanted,
            "M is multiplied in; it has to be divided out.": R @ K.T @ M,
            "The pairs are written as if general text weighed nothing: where is λ C?": exact,
        }
        agree(
            ask("memit", W, K, V, C, 2.5),
            wanted,
            "Δ",
            likely,
            1e-4 if n < d_in else 1e-5,
            note="rows like V",
        )
    return "solved: the gradient λ Δ C + (Δ K − R) Kᵀ is zero."
