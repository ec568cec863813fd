"""★★ Crosstalk

The oldest memory adds up one outer product per pair, W = V Kᵀ. Asked for k_j it answers with v_j,
scaled by ‖k_j‖², and with a bit of every other value. That bit is the crosstalk,

    W k_j − ‖k_j‖² v_j = Σ over i ≠ j of v_i (k_iᵀ k_j).

Return it for all keys at once, as columns.

    K  (d_in, n)     keys of any length, not only 1
    V  (d_out, n)
    returns (d_out, n), column j: the crosstalk at key j

Hint: all inner products together are one matrix product, and its diagonal is ‖k_j‖².
"""

from torch import Tensor


def crosstalk(K: Tensor, V: Tensor) -> Tensor:
    # solution
    G = K.T @ K  # (n, n)
    return V @ (G - G.diagonal().diag())


# --- checks
import torch

from lessons.marking import Wrong, agree, normal, tensor

WRONG = [
    ("return V @ K.T @ K", "its own value"),
    ("return V @ K.T @ K - V", "length 1"),
    ("G = K.T @ K\nreturn V @ (G - G.diagonal().diag()) / G.diagonal()", "divided"),
]


def check(ask, draw):
    K, V = torch.linalg.qr(normal(draw, 6, 4)).Q, normal(draw, 3, 4)
    found = tensor(ask("crosstalk", K, V), (3, 4), "the crosstalk", "a value for every key")
    if not found.norm() < 1e-6 and not torch.allclose(found, V @ K.T @ K):
        raise Wrong("Orthonormal keys do not hear each other: their crosstalk is 0, yours is not.")
    K, V = normal(draw, 6, 9), normal(draw, 3, 9)
    found = tensor(ask("crosstalk", K, V), (3, 9), "the crosstalk", "a value for every key")
    G = K.T @ K
    own = G.diagonal().diag()
    likely = {
        "This is the whole answer W k_j: its own value, ‖k_j‖² v_j, is no crosstalk.": V @ G,
        "The own share is ‖k_j‖² v_j. You took away v_j, as if all keys had length 1.": V @ G - V,
        "This is divided by ‖k_j‖²: the sum stands there without it.": V @ (G - own) / G.diagonal(),
    }
    agree(found, V @ (G - own), "the crosstalk", likely)
    return "solved: every other value leaks in by k_iᵀ k_j."
