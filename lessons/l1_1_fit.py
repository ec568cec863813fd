"""★ The best matrix for a list of pairs

A layer should answer every key with its value, W k_i = v_i. With more pairs than inputs it cannot,
and the best it can do is to minimize ‖W K − V‖². Fill in the line that returns this W.

    K  (d_in, n)     keys are columns; here n > d_in, and they span the whole space
    V  (d_out, n)    their values
    returns W (d_out, d_in)

Setting the gradient to zero gives the normal equations W K Kᵀ = V Kᵀ.

Hint: torch.linalg.solve(A, B) is the X with A X = B. Here the unknown stands on the other side;
what happens to the equation when you transpose it?
"""

import torch
from torch import Tensor


def fit(K: Tensor, V: Tensor) -> Tensor:
    M = K @ K.T  # (d_in, d_in), symmetric
    # solution
    return torch.linalg.solve(M, K @ V.T).T


# --- checks
from lessons.marking import agree, normal, tensor

WRONG = [
    ("return V @ K.T", "crosstalk"),
    ("return torch.linalg.solve(M, K @ V.T)", "transposed"),
    ("return torch.linalg.solve(M + torch.eye(len(M)), K @ V.T).T", "ridge"),
]


def check(ask, draw):
    for d_in, d_out, n in ((6, 4, 15), (3, 5, 40)):
        K, V = normal(draw, d_in, n), normal(draw, d_out, n)
        W = tensor(ask("fit", K, V), (d_out, d_in), "W", "it takes a key to a value")
        M, outer = K @ K.T, V @ K.T
        ridge = torch.linalg.solve(M + torch.eye(d_in), K @ V.T).T
        likely = {
            "These are outer products, W = V Kᵀ. Overlap leaves crosstalk: where is M?": outer,
            "This is ridge with λ = 1: nobody asked for a small W here.": ridge,
            "This is a mean of outer products: overlap leaves crosstalk. Where is M?": outer / n,
            "M is multiplied in, not divided out: solve the equation for W.": outer @ M,
        }
        wanted = torch.linalg.solve(M, K @ V.T).T
        likely["M is a mean over the pairs here, and V Kᵀ their sum: W is n times too large."] = (
            n * wanted
        )
        agree(W, wanted, "W", likely)
    return "solved: the gradient (W K − V) Kᵀ is zero."
