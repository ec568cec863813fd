"""★★★ Write one, keep some

You know some keys by name, and their outputs must not change at all. Among all changes that write
the pair and leave these outputs exactly unchanged, return W + Δ for the change with the least tr(Δ
C Δᵀ). If there is no such change, return None.

    W  (d_out, d_in)     k  (d_in,)     v  (d_out,), never the answer that W gives already
    K0 (d_in, m)         keys to keep, m < d_in, linearly independent
    C  (d_in, d_in)      second moment of general text, positive definite
    returns (d_out, d_in), or None

Investigate: for which k is it impossible, and what happens to the price as k gets close to that?

Hint: with K = [K0 k] and the residuals R = [0 δ] it is one problem with several pairs, and the
derivation of the insert goes through unchanged: Δ = R (Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹.
"""

import torch
from torch import Tensor


def insert_keeping(W: Tensor, k: Tensor, v: Tensor, K0: Tensor, C: Tensor) -> Tensor | None:
    # solution
    K = torch.cat([K0, k[:, None]], 1)
    if torch.linalg.matrix_rank(K) < K.shape[1]:  # k is a combination of keys to keep
        return None
    U = torch.linalg.solve(C, K)  # (d_in, m + 1)
    R = torch.zeros(len(W), K.shape[1], dtype=W.dtype)
    R[:, -1] = v - W @ k
    return W + R @ torch.linalg.solve(K.T @ U, U.T)


# --- checks
from lessons.marking import Stopped, Wrong, agree, normal, same, tensor, uneven

WRONG = [
    (
        "u = torch.linalg.solve(C, k)\nreturn W + torch.outer(v - W @ k, u) / (k @ u)",
        "kept keys moved",
    ),
    (
        "p = k - K0 @ torch.linalg.lstsq(K0, k[:, None]).solution[:, 0]\n"
        "if p.norm() < 1e-6 * k.norm():\n    return None\n"
        "return W + torch.outer(v - W @ k, p) / (p @ k)",
        "cheaper",
    ),
    ({"torch.linalg.matrix_rank(K) < K.shape[1]": "False"}, "impossible"),
    ("return None", "possible here"),
]


def check(ask, draw):
    for m in (1, 4):
        C, L = uneven(draw, 8)
        W, v, K0 = normal(draw, 5, 8), normal(draw, 5), L @ normal(draw, 8, m)
        k = L @ normal(draw, 8)
        found = ask("insert_keeping", W, k, v, K0, C)
        if found is None:
            raise Wrong(f"You return None, but it is possible here, next to {m} of 8 directions.")
        found = tensor(found, (5, 8), "W'")
        if not same(found @ k, v):
            raise Wrong("W' k is not v: the pair is not written.")
        if not same(found @ K0, W @ K0):
            away = ((found - W) @ K0).norm() / (W @ K0).norm()
            raise Wrong(f"The pair is written, but the kept keys moved by {away:.0%} of W K0.")
        best = insert_keeping(W, k, v, K0, C) - W
        theirs, least = ((D @ C @ D.T).trace().item() for D in (found - W, best))
        if theirs > 1.0001 * least:
            raise Wrong(
                f"Written and kept, at a price of {theirs:.3g}; {least:.3g} is possible, so it can "
                "be cheaper: is the kept part taken out of k by inner products without C⁻¹?"
            )
        agree(found, W + best, "W'")
        inside = K0 @ (1 + normal(draw, m).abs())
        try:
            found = ask("insert_keeping", W, inside, v, K0, C)
        except Stopped as error:
            raise Wrong(f"If it is impossible, return None ({error}).") from None
        if found is not None:
            raise Wrong(
                "k is a sum of kept keys (up to rounding): impossible. When does that happen?"
            )
    return "solved: you can write only to the part of k that the kept keys do not span."
