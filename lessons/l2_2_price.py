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
from lessons.marking import agree, normal, number, several, tensor, uneven

WRONG = [
    ({" ** 2 * q": " * q"}, "twice"),
    ({" / (K * U).sum(0) ** 2": ""}, "different length"),
    ({"(U * (C @ U)).sum(0) / (K * U).sum(0) ** 2 * q": "q / (K * U).sum(0)"}, "has not seen"),
    ({" ** 2 * q": " ** 2"}, "multiple of the least"),
    ({"torch.linalg.solve(C, K)": "(C @ K)"}, "C⁻¹"),
    ({"w, t = len(windows), windows[0].shape[1]":
      "windows = [x[:, None] for x in torch.cat(windows, 1).T]\nw, t = len(windows), 1"},
     "aren't new evidence"),
    ({"(w * (w - 1))": "(w - 1)"}, "one window"),
    ({"(w * (w - 1))": "w**2"}, "w − 1"),
    ({"(1 - r) * C + r * target": "C + r * target"}, "keeps the trace"),
    ({".clamp(max=1)": ""}, "at most 1"),
    ({"C.trace() / len(C)": "C.trace()"}, "mean eigenvalue"),
    ({" / (C - target).square().sum()": " / C.square().sum()"}, "spread"),
]  # fmt: skip


def check(ask, draw):
    C, L = uneven(draw, 9)
    K, seen = L @ normal(draw, 9, 5), L @ normal(draw, 9, 20)
    U = torch.linalg.solve(seen @ seen.T / 20, K)  # along an estimate
    q, met, cost = (K * torch.linalg.solve(C, K)).sum(0), (K * U).sum(0), (U * (C @ U)).sum(0)
    likely = {
        "You compare two directions of different length. Δ k must be δ for both, so divide by "
        "(kᵀu)².": cost * q,
        "Your harm contains 1/(kᵀu) once. It is a part of Δ, which appears twice in tr(Δ C Δᵀ).": (
            cost / met * q
        ),
        "This uses the estimate to rate its own insert: 1/kᵀû. Use C, which the estimate has not "
        "seen.": q / met,
        "This is the price of a residual of length 1; return a multiple of the least, 1/q.": cost
        / met**2,
        "Here C is used instead of its inverse: the least price is 1/(kᵀ C⁻¹ k).": (
            cost / met**2 * (K * (C @ K)).sum(0)
        ),
        "This is the size of the change in the weights. The effect on text is tr(Δ C Δᵀ).": (
            (U * U).sum(0) / met**2 * q
        ),
        "This is upside down: the least price over yours.": met**2 / cost / q,
        "These are divided by the least price twice.": cost / met**2 * q * q,
    }
    agree(ask("harm", U, K, C), cost / met**2 * q, "harm", likely, note="one per key")
    sentence = "shrink: return the matrix and r."
    for w, t, apart in ((6, 12, 1.0), (3, 2, 5.0)):  # in the second case r would be above 1
        windows = [L @ (normal(draw, 9, t) + apart * normal(draw, 9, 1)) for _ in range(w)]
        if apart > 1:  # three windows without anything in common, each with a third of the axes
            axes = torch.eye(9, dtype=torch.float64).split(3, 1)
            windows = [one @ normal(draw, 3, 3).exp() for one in axes]
            windows = [one / one.norm() for one in windows]
            t = 3
        each = torch.stack([B @ B.T / t for B in windows])
        mean, one = each.mean(0), torch.eye(9, dtype=torch.float64)
        m = mean.trace() / 9
        spread, D = (each - mean).square().sum(), (mean - m * one).square().sum()
        over = spread / (w * (w - 1)) / D
        r = over.clamp(max=1)
        found, mine = several(ask("shrink", windows), 2, sentence)
        X, n = torch.cat(windows, 1), w * t
        alone = (X.square().sum(0) ** 2).sum() / n - mean.square().sum()
        tokens = (alone / (n - 1) / D).clamp(max=1)
        whole = mean - 9 * m * one
        likely = {
            "A token's neighbors aren't new evidence, so your r is too small by a factor of "
            f"{r / tokens:.1f}. Use the window.": tokens,
            "This b measures the error of one window. Their mean has a smaller error, so also "
            "divide by w.": ((spread / (w - 1) / D).clamp(max=1)),
            "The windows are compared with their own mean, which uses up one of them: divide by w "
            "(w − 1).": (spread / w**2 / D).clamp(max=1),
            "A fraction is at most 1: here the windows differ so much that b is larger.": over,
            "m is the mean eigenvalue: the trace over d.": (
                (spread / (w * (w - 1)) / whole.square().sum()).clamp(max=1)
            ),
            "r is a fraction of the spread, ‖Ĉ − m I‖², not of ‖Ĉ‖².": (
                spread / (w * (w - 1)) / mean.square().sum()
            ).clamp(max=1),
            "This is the root of r: compare squares, b and ‖Ĉ − m I‖².": r.sqrt(),
        }
        agree(number(mine, "r"), r, "r", likely)
        likely = {
            "You use r as damping. Mix instead, which keeps the trace: (1 − r) Ĉ + r m I.": (
                mean + r * m * one
            ),
            "This is Ĉ, as it was estimated: mix in r m I.": mean,
            "The weights are exchanged: Ĉ has 1 − r, and m I has r.": r * mean + (1 - r) * m * one,
            "This is shrunk towards I; m I has the same trace as Ĉ.": (1 - r) * mean + r * one,
            "The windows' products are added instead of averaged.": w
            * ((1 - r) * mean + r * m * one),
        }
        agree(tensor(found, (9, 9), "the matrix"), (1 - r) * mean + r * m * one, "C", likely)
    return f"solved: here the estimate costs {(cost / met**2 * q).mean():.1f} times the least."
