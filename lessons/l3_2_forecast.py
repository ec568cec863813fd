"""★★ After the last edit

T facts are written one after another, each with the cheapest change. You know nothing but ρ and the
residuals that the *unedited* memory had at every key. Forecast how wrong each fact will be when all
are written:

    W_T k_j − v_j = Σ over i > j of ρ(i, j) δ_i.

Beware: δ_i is what edit i really has to write, and the edits before it have changed that already:

    δ_i = r_i − Σ over s < i of ρ(s, i) δ_s,     r_i = v_i − W_0 k_i.

    rho  (T, T)          in the order of the edits: row i is edit i
    R    (d_out, T)      column i is r_i
    returns (d_out, T), column j: W_T k_j − v_j

Hint: a loop over the edits is fine. Without one: the second line says δ · triu(ρ) = R.
"""

import torch
from torch import Tensor


def after_all(rho: Tensor, R: Tensor) -> Tensor:
    # solution
    delta = torch.linalg.solve_triangular(rho.triu(), R, upper=True, left=False)
    return delta @ rho.tril(-1)


# --- checks
from lessons.marking import agree, normal, tensor, uneven

SOLVED = "delta = torch.linalg.solve_triangular(rho.triu(), R, upper=True, left=False)\n"
WRONG = [
    ("return R @ rho.tril(-1)", "already there"),
    (SOLVED + "return delta @ rho.triu(1)", "came after"),
    (SOLVED + "return delta @ rho.tril()", "diagonal"),
    (SOLVED + "return delta @ (rho.tril(-1) + rho.triu(1))", "earlier edits"),
    (SOLVED + "return -delta @ rho.tril(-1)", "sign"),
]


def check(ask, draw):
    T, d_out = 7, 4
    C, L = uneven(draw, 12)
    K, R = L @ normal(draw, 12, T), normal(draw, d_out, T)
    U = torch.linalg.solve(C, K)
    rho = (K.T @ U) / (K * U).sum(0)[:, None]
    found = tensor(ask("after_all", rho, R), (d_out, T), "the forecast", "one column per fact")
    # the slow way: write them all, from W = 0 with values R
    W, delta = torch.zeros(d_out, 12).double(), torch.zeros_like(R)
    for t in range(T):
        delta[:, t] = R[:, t] - W @ K[:, t]
        W = W + torch.outer(delta[:, t], U[:, t]) / (K[:, t] @ U[:, t])
    likely = {
        "This takes r_i for what edit i writes, but earlier edits left something on its key that "
        "is already there: use δ_i.": R @ rho.tril(-1),
        "These sums run over the edits before j. A step makes its own pair exact; wrong in the end "
        "is what came after it.": delta @ rho.triu(1),
        "The diagonal is in the sum: an edit does not disturb its own fact, it writes it.": delta
        @ rho.tril(),
        "All others are summed: the traces of earlier edits were repaired when j was written.": (
            delta @ (rho.tril(-1) + rho.triu(1))
        ),
        "δ_i is solved for with all edits; only those before i have left something there: take "
        "triu(ρ).": torch.linalg.solve(rho, R, left=False) @ rho.tril(-1),
        "δ_i is solved for with the edits after i, the lower triangle; take triu(ρ).": (
            torch.linalg.solve(rho.tril(), R, left=False) @ rho.tril(-1)
        ),
        "Edit s has written δ_s on the other keys, and here r_s takes its place.": (
            (R - R @ rho.triu(1)) @ rho.tril(-1)
        ),
        "These sums run along row j, what edit j does to others; fact j hears column j.": delta
        @ rho.triu(1).T,
        "The sign: this is v_j − W_T k_j.": R - W @ K,
    }
    agree(found, W @ K - R, "the forecast", likely)
    return "solved: forecast and T edits, made one by one, agree."
