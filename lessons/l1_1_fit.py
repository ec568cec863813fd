"""★ The best matrix for a list of pairs

A layer should map every key to its value, W k_i = v_i. With more pairs than inputs it can't, and
the best it can do is to minimize ‖W K − V‖². Expand ‖(W + H) K − V‖² for a small H: to first order
it changes by tr(Hᵀ G). Return this G, the slope at any W, in slope. When it is zero, the normal
equations W K Kᵀ = V Kᵀ hold. Return the W that solves them in fit.

    K  (d_in, n)     keys are columns; here n > d_in, and they span the whole space
    V  (d_out, n)    their values
    slope returns G (d_out, d_in), and fit returns W (d_out, d_in)

Ridge minimizes ‖W K − V‖² + λ ‖W‖². The second term is the error of additional pairs, so you can
use fit if you add them. Write ridge as one call of fit, for any number of pairs.

    lam  a number, λ > 0
    returns W (d_out, d_in)

Hint: torch.linalg.solve(A, B) is the X with A X = B. Here the unknown is on the other side; what
happens to the equation if you transpose it? And which d_in keys, mapped to zero, cost λ ‖W‖²?
"""

import torch
from torch import Tensor


def slope(W: Tensor, K: Tensor, V: Tensor) -> Tensor:
    # solution
    return 2 * (W @ K - V) @ K.T


def fit(K: Tensor, V: Tensor) -> Tensor:
    M = K @ K.T  # (d_in, d_in), symmetric
    # solution
    return torch.linalg.solve(M, K @ V.T).T


def ridge(K: Tensor, V: Tensor, lam: float) -> Tensor:
    # solution
    more = lam**0.5 * torch.eye(len(K)).to(K)  # d_in keys whose values are 0
    nothing = torch.zeros(len(V), len(K)).to(V)
    return fit(torch.cat([K, more], 1), torch.cat([V, nothing], 1))


# --- checks
from lessons.marking import Wrong, agree, normal

WRONG = [
    ({"slope": "return (W @ K - V) @ K.T"}, "in both"),
    ({"slope": "return 2 * (W @ K - V)"}, "Kᵀ is missing"),
    ({"slope": "return 2 * (V - W @ K) @ K.T"}, "downhill"),
    ({"slope": "return 2 * W @ K @ K.T"}, "forgotten"),
    ({"fit": "return V @ K.T"}, "crosstalk"),
    ({"V.T).T": "V.T)"}, "transposed"),
    ({"solve(M,": "solve(M + torch.eye(len(M)),"}, "ridge"),
    ({"lam**0.5": "lam"}, "root"),
    ({"lam**0.5 * ": ""}, "λ = 1"),
    ({"ridge": "return fit(K, V) / (1 + lam)"}, "shrinks"),
    ({"lam**0.5": "(lam / K.shape[1]) ** 0.5"}, "to the sum"),
]


def check(ask, draw):
    W, K, V = normal(draw, 3, 4), normal(draw, 4, 7), normal(draw, 3, 7)
    wanted, found = 2 * (W @ K - V) @ K.T, ask("slope", W, K, V)
    if getattr(found, "shape", None) == (3, 7):
        raise Wrong("slope: Kᵀ is missing: this has one column per pair instead of one per input.")
    likely = {
        "Half of the slope: ‖·‖² has two factors, and H is in both.": wanted / 2,
        "This points downhill; the slope is the direction in which the error grows.": -wanted,
        "This is half of it, and points downhill: ‖·‖² has two factors, and H is in both.": (
            -wanted / 2
        ),
        "V is forgotten: use the error, W K − V.": 2 * W @ K @ K.T,
        "This is a mean over the pairs; ‖W K − V‖² is a sum over them.": wanted / 7,
        "The error is multiplied by the values instead of K.": 2 * (W @ K - V) @ V.T @ W,
    }
    agree(found, wanted, "slope", likely, note="one row per output", told=False)
    for d_in, d_out, n in ((6, 4, 15), (3, 5, 40)):
        K, V = normal(draw, d_in, n), normal(draw, d_out, n)
        M, outer, wanted = K @ K.T, V @ K.T, ridge(K, V, 0)
        likely = {
            "These are outer products, W = V Kᵀ. Overlap leaves crosstalk: where is M?": outer,
            "This is ridge with λ = 1: a small W is not required here.": ridge(K, V, 1),
            "This is a mean of outer products: overlap leaves crosstalk. Where is M?": outer / n,
            "You multiply by M instead of dividing by it: solve the equation for W.": outer @ M,
            "Here M is a mean over the pairs while V Kᵀ is a sum: W is n times too large.": (
                n * wanted
            ),
        }
        agree(ask("fit", K, V), wanted, "W", likely, note="it maps a key to a value")
    for d_in, d_out, n, lam in ((5, 4, 12, 2.5), (5, 4, 2, 0.3)):  # including few pairs
        K, V = normal(draw, d_in, n), normal(draw, d_out, n)
        likely = {
            "‖W B‖² is λ ‖W‖² for B = √λ I: the root is missing.": ridge(K, V, lam**2),
            "This is ridge with λ = 1, whatever λ is.": ridge(K, V, 1),
            "This is ridge with √λ: the keys are √λ I, not the fourth root.": ridge(K, V, lam**0.5),
            "This is ridge with λ/n: λ ‖W‖² is added to the sum over the pairs, not the mean.": (
                ridge(K, V, lam / n)
            ),
            "This is ridge with n λ: λ ‖W‖² is added once, not for every pair.": ridge(
                K, V, n * lam
            ),
            "This is least squares: where is λ?": V @ K.pinverse(),
            "This shrinks all directions equally; directions that the keys rarely use should "
            "shrink more.": (V @ K.pinverse() / (1 + lam)),
        }
        agree(
            ask("ridge", K, V, lam),
            ridge(K, V, lam),
            "ridge",
            likely,
            note="it maps a key to a value",
        )
    return "solved: the gradient (W K − V) Kᵀ + λ W is zero."
