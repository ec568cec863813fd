"""★★ The price of an estimate

Writing a residual δ along u, Δ = δ uᵀ / (kᵀ u), changes the outputs at other keys k'. Over general
text that costs

    E ‖Δ k'‖² = tr(Δ C Δᵀ),

which is least along u = C⁻¹ k: it is ‖δ‖² / q there, q = kᵀ C⁻¹ k. But C has to be estimated, and
û = Ĉ⁻¹ k is another direction. Write, in two steps,

    harm      for each key: the cost of an insert along its column of U, as a multiple of the least
    shrink    an estimate that does less harm. Text comes as w windows B of t tokens each, keys as
              columns, and each window has a second moment C_B = B Bᵀ / t. Their mean is Ĉ, and
                  m = tr Ĉ / d                          the mean eigenvalue
                  b = Σ ‖C_B − Ĉ‖² / (w (w − 1))        how far Ĉ is off by chance, squared
                  r = b / ‖Ĉ − m I‖², at most 1         the fraction of its spread due to chance
              and the answer is (1 − r) Ĉ + r m I (Ledoit and Wolf, 2004)

    U, K  (d_in, n)     C  (d_in, d_in), positive definite     windows  list of w tensors (d_in, t)
    harm returns (n,), 1 or more; shrink the new matrix (d_in, d_in) and r, a number

Hint: for an outer product Δ = a bᵀ, tr(Δ C Δᵀ) = ‖a‖² · bᵀ C b. No Δ is needed.
Investigate: which of the two can't you compute from a single window, and why?
"""

import torch
from torch import Tensor


def harm(U: Tensor, K: Tensor, C: Tensor) -> Tensor:
    # solution
    q = (K * torch.linalg.solve(C, K)).sum(0)  # 1/q is the least price
    return (U * (C @ U)).sum(0) / (K * U).sum(0) ** 2 * q


def shrink(windows: list[Tensor]) -> tuple[Tensor, Tensor]:
    # solution
    w, t = len(windows), windows[0].shape[1]
    C = sum(B @ B.T / t for B in windows) / w
    target = C.trace() / len(C) * torch.eye(len(C), dtype=C.dtype)  # m I
    b = sum((B @ B.T / t - C).square().sum() for B in windows) / (w * (w - 1))
    r = (b / (C - target).square().sum()).clamp(max=1)
    return (1 - r) * C + r * target, r


# --- checks
from lessons.marking import agree, mistaken, normal, number, several, tensor, uneven

COST, MIX = "(U * (C @ U)).sum(0) / (K * U).sum(0) ** 2 * q", "(1 - r) * C + r * target"
HARM = {  # message: the pieces of the solution that the mistake replaces
    "You compare two directions of different length. Δ k must be δ for both, so divide by "
    "(kᵀu)².": {" / (K * U).sum(0) ** 2": ""},
    "Your harm contains 1/(kᵀu) once. It is a part of Δ, which appears twice in tr(Δ C Δᵀ).": {
        "** 2 * q": "* q"
    },
    "This uses the estimate to rate its own insert: 1/kᵀû. Use C, which the estimate has not "
    "seen.": {COST: "q / (K * U).sum(0)"},
    "This is the price of a residual of length 1; return a multiple of the least, 1/q.": {
        "** 2 * q": "** 2"
    },
    "Here C is used instead of its inverse: the least price is 1/(kᵀ C⁻¹ k).": {
        "torch.linalg.solve(C, K)": "(C @ K)"
    },
    "This is the size of the change in the weights. The effect on text is tr(Δ C Δᵀ).": {
        "(C @ U)": "U"
    },
    "This is upside down: the least price over yours.": {COST: f"1 / ({COST})"},
    "These are divided by the least price twice.": {"** 2 * q": "** 2 * q * q"},
}
TOKENS = {
    "w, t = len(windows), windows[0].shape[1]": (
        "windows = [x[:, None] for x in torch.cat(windows, 1).T]; w, t = len(windows), 1"
    )
}
WEIGHT = {
    "This b measures the error of one window. Their mean has a smaller error, so also divide by "
    "w.": {"(w * (w - 1))": "(w - 1)"},
    "The windows are compared with their own mean, which uses up one of them: divide by w "
    "(w − 1).": {"(w * (w - 1))": "w**2"},
    "A fraction is at most 1: here the windows differ so much that b is larger.": {
        ".clamp(max=1)": ""
    },
    "m is the mean eigenvalue: the trace over d.": {"C.trace() / len(C)": "C.trace()"},
    "r is a fraction of the spread, ‖Ĉ − m I‖², not of ‖Ĉ‖².": {"(C - target)": "C"},
    "This is the root of r: compare squares, b and ‖Ĉ − m I‖².": {"target, r": "target, r.sqrt()"},
}
SHRUNK = {
    "You use r as damping. Mix instead, which keeps the trace: (1 − r) Ĉ + r m I.": {
        MIX: "C + r * target"
    },
    "This is Ĉ, as it was estimated: mix in r m I.": {MIX: "C"},
    "The weights are exchanged: Ĉ has 1 − r, and m I has r.": {MIX: "r * C + (1 - r) * target"},
    "This is shrunk towards I; m I has the same trace as Ĉ.": {
        MIX: "(1 - r) * C + r * torch.eye(len(C))"
    },
    "The windows' products are added instead of averaged.": {MIX: f"w * ({MIX})"},
}
WRONG = [
    (TOKENS, "aren't new evidence"),
    *((pieces, why) for why, pieces in (HARM | WEIGHT | SHRUNK).items()),
]


def check(ask, draw):
    C, L = uneven(draw, 9)
    K, seen = L @ normal(draw, 9, 5), L @ normal(draw, 9, 20)
    U = torch.linalg.solve(seen @ seen.T / 20, K)  # along an estimate
    cost = harm(U, K, C)
    likely = {why: mistaken(harm, how)(U, K, C) for why, how in HARM.items()}
    agree(ask("harm", U, K, C), cost, "harm", likely, note="one per key")
    sentence = "shrink: return the matrix and r."
    for w, t, apart in ((6, 12, 1.0), (3, 2, 5.0)):  # in the second case r would be above 1
        windows = [L @ (normal(draw, 9, t) + apart * normal(draw, 9, 1)) for _ in range(w)]
        if apart > 1:  # three windows without anything in common, each with a third of the axes
            axes = torch.eye(9, dtype=torch.float64).split(3, 1)
            windows = [one @ normal(draw, 3, 3).exp() for one in axes]
            windows = [one / one.norm() for one in windows]
        wanted, r = shrink(windows)
        found, mine = several(ask("shrink", windows), 2, sentence)
        tokens = mistaken(shrink, TOKENS)(windows)[1]
        likely = {
            "A token's neighbors aren't new evidence, so your r is too small by a factor of "
            f"{r / tokens:.1f}. Use the window.": tokens
        } | {why: mistaken(shrink, how)(windows)[1] for why, how in WEIGHT.items()}
        agree(number(mine, "r"), r, "r", likely)
        likely = {why: mistaken(shrink, how)(windows)[0] for why, how in SHRUNK.items()}
        agree(tensor(found, (9, 9), "the matrix"), wanted, "C", likely)
    return f"solved: here the estimate costs {cost.mean():.1f} times the least."
