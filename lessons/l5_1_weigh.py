"""★ Many pairs, weighed

You want to write a hundred facts into one matrix without harming general text. Put both into one
sum of squares, where λ is the number of tokens of text that the new pairs are weighed against:

    min over Δ of   λ tr(Δ C Δᵀ) + ‖(W + Δ) K − V‖²

Setting the gradient to zero gives Δ (λ C + K Kᵀ) = R Kᵀ: MEMIT. Fill in the last line, return Δ.

    W  (d_out, d_in)     K (d_in, n)     V (d_out, n)     lam: a number, λ
    C  (d_in, d_in)      second moment of general text, positive definite
    returns (d_out, d_in), only the change Δ

R is the part missing at the keys. How do you compute it?

Hint: torch.linalg.solve(A, B) is the X with A X = B; here the unknown is on the left.
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
    ({"return ": "return W + "}, "only Δ"),
    ("return (V - W @ K) @ K.T @ M", "divide by it"),
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
            "This adds all of V to the current outputs of W: R is the missing part, V − W K.": (
                torch.linalg.solve(M, K @ V.T).T
            ),
            "This is the new matrix; return only Δ.": W + wanted,
            "You divide only by λ C; M also includes the new keys, K Kᵀ.": (
                torch.linalg.solve(2.5 * C, K @ R.T).T
            ),
            "C is missing its λ.": torch.linalg.solve(C + K @ K.T, K @ R.T).T,
            "These are outer products, R Kᵀ: divide by M.": R @ K.T,
            "The sign is wrong: R is the missing part, V − W K.": -wanted,
            "You multiply by M; divide by it instead.": R @ K.T @ M,
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
