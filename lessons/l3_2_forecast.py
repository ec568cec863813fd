"""★★ After the last edit

T facts are written one after another, each with the cheapest change. You are given only ρ and the
residuals of the *unedited* memory at every key, r_i = v_i − W_0 k_i. Write three functions:

    asks        the part each edit really has to write, after the changes by earlier edits:
                    δ_i = r_i − Σ over s < i of ρ(s, i) δ_s
    after_all   the error of each fact after all are written; it may call `asks`:
                    W_T k_j − v_j = Σ over i > j of ρ(i, j) δ_i
    in_a_row    the matrix W_T itself, from keys and values, without writing pair by pair:
                    W_T = W_0 + Σ over i of δ_i (C⁻¹ k_i)ᵀ / q_i,   q_i = k_iᵀ C⁻¹ k_i

    rho  (T, T)          in the order of the edits: row i is edit i
    R    (d_out, T)      column i is r_i
    W    (d_out, d_in)   the memory W_0     K (d_in, T)    V (d_out, T)    C (d_in, d_in)
    asks and after_all return (d_out, T), in_a_row returns (d_out, d_in)

Hint: a loop over the edits is fine. Without a loop: the first sum means δ · triu(ρ) = R.
"""

import torch
from torch import Tensor


def asks(rho: Tensor, R: Tensor) -> Tensor:
    # solution
    return torch.linalg.solve_triangular(rho.triu(), R, upper=True, left=False)


def after_all(rho: Tensor, R: Tensor) -> Tensor:
    # solution
    return asks(rho, R) @ rho.tril(-1)


def in_a_row(W: Tensor, K: Tensor, V: Tensor, C: Tensor) -> Tensor:
    # solution
    U = torch.linalg.solve(C, K)  # C⁻¹ k_i, (d_in, T)
    q = (K * U).sum(0)
    delta = asks(K.T @ U / q[:, None], V - W @ K)
    return W + delta / q @ U.T


# --- checks
from lessons.marking import agree, normal, uneven

WRONG = [
    ({"asks": "return R"}, "already added"),
    ({"asks": "return torch.linalg.solve(rho, R, left=False)"}, "before i"),
    ({"asks": "return torch.linalg.solve(rho.tril(), R, left=False)"}, "lower"),
    ({"asks": "return R - R @ rho.triu(1)"}, "in place of δ_s"),
    ({"asks(rho, R) @": "R @"}, "already added"),
    ({"rho.tril(-1)": "rho.triu(1)"}, "came after"),
    ({"rho.tril(-1)": "rho.tril()"}, "diagonal"),
    ({"rho.tril(-1)": "(rho.tril(-1) + rho.triu(1))"}, "earlier edits"),
    ({"asks(rho, R) @": "-asks(rho, R) @"}, "sign"),
    ({"W + ": ""}, "only the change"),
    ({"V - W @ K": "V"}, "missing"),
    ({"delta / q": "delta"}, "Divide by q_i"),
    ({"asks(K.T @ U / q[:, None], V - W @ K)": "V - W @ K"}, "residuals of W_0"),
    (
        {
            "asks(K.T @ U / q[:, None], V - W @ K)": "torch.linalg.solve("
            "K.T @ U / q[:, None], V - W @ K, left=False)"
        },
        "once",
    ),
]


def check(ask, draw):
    T, d_out = 7, 4
    C, L = uneven(draw, 12)
    K, R = L @ normal(draw, 12, T), normal(draw, d_out, T)
    U = torch.linalg.solve(C, K)
    q = (K * U).sum(0)
    rho = (K.T @ U) / q[:, None]
    # the slow way: write them all, from W = 0 with values R
    W, delta = torch.zeros(d_out, 12).double(), torch.zeros_like(R)
    for t in range(T):
        delta[:, t] = R[:, t] - W @ K[:, t]
        W = W + torch.outer(delta[:, t], U[:, t]) / (K[:, t] @ U[:, t])
    every, lower = (torch.linalg.solve(m, R, left=False) for m in (rho, rho.tril()))
    likely = {
        "asks: this is r_i, but earlier edits have already added something at its key.": R,
        "asks: you solve for δ_i with all edits; only edits before i have added something there: "
        "use triu(ρ).": every,
        "asks: these are the edits after i, the lower triangle; use triu(ρ).": lower,
        "asks: edit s has written δ_s at the other keys, and you use r_s in place of δ_s.": (
            R - R @ rho.triu(1)
        ),
    }
    agree(ask("asks", rho, R), delta, "δ", likely, note="one column per edit")
    likely = {
        "This uses r_i as the change by edit i, but earlier edits have already added part of it: "
        "use δ_i.": R @ rho.tril(-1),
        "These sums run over the edits before j. A step makes its own pair exact; the error at "
        "the end is due to what came after it.": delta @ rho.triu(1),
        "The diagonal is in the sum: an edit does not disturb its own fact, it writes it.": delta
        @ rho.tril(),
        "You sum over all other edits: the effects of earlier edits were repaired when j was "
        "written.": (delta @ (rho.tril(-1) + rho.triu(1))),
        "These sums run along row j, the effect of edit j; fact j receives column j.": delta
        @ rho.triu(1).T,
        "The sign is wrong: this is v_j − W_T k_j.": R - W @ K,
    }
    agree(ask("after_all", rho, R), W @ K - R, "the forecast", likely, note="one column per fact")
    start = normal(draw, d_out, 12)
    V = R + start @ K  # so that the residuals are the same
    likely = {
        "This is only the change: the rest of the memory is gone.": W,
        "Edit 1 has to write the missing part, v − W k, not all of v.": start
        + torch.linalg.solve(rho.triu(), V, left=False) / q @ U.T,
        "You don't divide, so δ_i arrives q_i times. Divide by q_i.": start + delta @ U.T,
        "These are the residuals of W_0; edit i writes δ_i.": start + R / q @ U.T,
        "Every pair is exact: this writes all of them at once instead of one after another.": start
        + every / q @ U.T,
    }
    agree(ask("in_a_row", start, K, V, C), start + W, "W_T", likely)
    return "solved: prediction, formula, and T edits, made one by one, agree."
