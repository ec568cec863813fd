"""★★ Reading a matrix of overlaps

Summarize the off-diagonal entries of ρ using four numbers: their mean, standard deviation, root
mean square (rms), and kurtosis

    m₄ / m₂² − 3     m_p = mean of (x − mean)^p

which is 0 for a Gaussian and large if a few entries are far from the mean. The standard deviation
is √m₂.

    shape     rho (n, n), diagonal 1 -> mean, sd, rms, kurtosis
    common    the fraction of the whitened keys' squared lengths in their mean: n ‖m‖² over the
              sum of all ‖x_i‖², where x_i are the whitened keys and m is their mean. Unrelated
              keys have about 1/n
    keeping   ρ of inserts that must not change one key k0, Δ k0 = 0. The cheapest such inserts have
              A = C⁻¹ − C⁻¹ k0 k0ᵀ C⁻¹ / (k0ᵀ C⁻¹ k0) instead of C⁻¹:
              ρ(i, j) = k_iᵀ A k_j / k_iᵀ A k_i
    forecast  one number per fact. The keys are in the order of their edits, one edit after
              another, and ρ(i, j), in row i, is the effect of edit i on fact j. The length of the
              change at fact j in the end is √ Σ ρ(i, j)² over the edits i that can still harm it,
              if all residuals are equally long and point in unrelated directions

    K  (d_in, n), keys as columns     k0  (d_in,)     C  (d_in, d_in)
    shape returns four numbers, common a number, keeping (n, n), forecast (n,)

Hint: rho[~torch.eye(n, dtype=torch.bool)] selects the off-diagonal entries. With whitened keys X,
KᵀC⁻¹K = XᵀX, so you don't need a root of C.
"""

import torch
from torch import Tensor


def shape(rho: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # solution
    x = rho[~torch.eye(len(rho), dtype=torch.bool)]
    away = x - x.mean()
    m2 = away.pow(2).mean()
    return x.mean(), m2.sqrt(), x.pow(2).mean().sqrt(), away.pow(4).mean() / m2**2 - 3


def common(K: Tensor, C: Tensor) -> Tensor:
    # solution
    D = K.T @ torch.linalg.solve(C, K)  # x_i · x_j of the whitened keys
    return D.mean() / D.diagonal().mean()


def keeping(K: Tensor, k0: Tensor, C: Tensor) -> Tensor:
    # solution
    U, u0 = torch.linalg.solve(C, K), torch.linalg.solve(C, k0)
    D = K.T @ U - torch.outer(K.T @ u0, u0 @ K) / (k0 @ u0)
    return D / D.diagonal()[:, None]


def forecast(rho: Tensor) -> Tensor:
    # solution
    return rho.tril(-1).norm(dim=0)


# --- checks
from lessons.marking import agree, mistaken, normal, numbers, uneven

X, LENGTHS = "rho[~torch.eye(len(rho), dtype=torch.bool)]", "D.diagonal()[:, None]"
SHAPE = {  # message: the pieces of the solution that the mistake replaces
    "The diagonal is included: n entries that are 1 by definition make any tail heavy.": {
        X: "rho.flatten()"
    },
    "A Gaussian should give 0, and here it gives 3.": {"m2**2 - 3": "m2**2"},
    "The mean is subtracted from the rms: rms is about 0, sd about the mean, and only the first "
    "adds up.": {"x.pow(2).mean().sqrt()": "m2.sqrt()"},
    "You measure the spread, sd and kurtosis, around 0: both measure how the entries scatter "
    "around their mean.": {"x - x.mean()": "x"},
    "You measure the kurtosis around 0: it measures how the entries scatter around their mean.": {
        "away.pow(4).mean() / m2**2": "x.pow(4).mean() / x.pow(2).mean() ** 2"
    },
    "m₂ divides by one less than there are entries; it is their mean.": {
        "away.pow(2).mean()": "x.var()"
    },
    "The diagonal is included, as zeros: leave it out.": {
        X: "(rho - torch.eye(len(rho))).flatten()"
    },
    "These are the entries of one half. ρ is not symmetric, so both halves count.": {
        X: "rho[torch.ones_like(rho).triu(1).bool()]"
    },
}
COMMON = {
    "The keys are not whitened: this is the fraction for the raw keys.": {
        "D = K.T @ torch.linalg.solve(C, K)": "D = K.T @ K"
    },
    "There is one n too many: the sum of all products is n² ‖m‖², and you need n ‖m‖².": {
        "D.mean() / D.diagonal().mean()": "D.sum() / D.diagonal().sum()"
    },
    "Use n ‖m‖²: this compares one mean with the lengths of all keys.": {
        "D.mean() / D": "D.mean() / len(D) / D"
    },
    "You normalize the keys first; long keys should count for more.": {
        "D.mean() / D.diagonal().mean()": (
            "(D / D.diagonal().sqrt() / D.diagonal().sqrt()[:, None]).mean()"
        )
    },
    "This multiplies by C; whitened keys use its inverse.": {
        "D = K.T @ torch.linalg.solve(C, K)": "D = K.T @ C @ K"
    },
    "The diagonal is left out: it is part of the mean.": {
        "D.mean()": "(D.sum() - D.trace()) / len(D) ** 2"
    },
}
KEEPING = {
    "k0 is projected out of the raw keys: it should be orthogonal to the whitened keys, because of "
    "C⁻¹.": {
        "U, u0 = torch.linalg.solve(C, K), torch.linalg.solve(C, k0)": (
            "K = K - torch.outer(k0, k0 @ K) / (k0 @ k0); U = torch.linalg.solve(C, K)"
        ),
        " - torch.outer(K.T @ u0, u0 @ K) / (k0 @ u0)": "",
    },
    "k0 is not kept: this is the unchanged ρ.": {
        " - torch.outer(K.T @ u0, u0 @ K) / (k0 @ u0)": ""
    },
    "Use A in numerator and denominator, since an insert still has to write its whole key.": {
        LENGTHS: "(K * U).sum(0)[:, None]"
    },
    "C⁻¹k0 is divided by its own squared length; A divides by k0ᵀC⁻¹k0.": {
        "(k0 @ u0)": "(u0 @ u0)"
    },
    "Row i should be divided by its own k_iᵀ A k_i; this divides columns.": {
        LENGTHS: "D.diagonal()"
    },
    "These are the products: divide row i by its k_iᵀ A k_i.": {f"D / {LENGTHS}": "D"},
}
FORECAST = {
    "Edits before fact j existed when it was written, so only later edits harm it.": {
        "rho.tril(-1)": "(rho - torch.eye(len(rho)))"
    },
    "These sums run along a row: the effect of an edit on others.": {"dim=0": "dim=1"},
    "Signs cancel here, but not in unrelated residuals: add up squares.": {
        "norm(dim=0)": "sum(0).abs()"
    },
    "You add up sizes. In unrelated directions, add up squares.": {"norm(dim=0)": "abs().sum(0)"},
    "These are root mean squares; the total change is a sum.": {
        "norm(dim=0)": "norm(dim=0) / len(rho) ** 0.5"
    },
    "These sums run along a row, and over later facts: the effect of edit j on them.": {
        "tril(-1).norm(dim=0)": "triu(1).norm(dim=1)"
    },
    "These are sums of squares: a length is the root of one.": {"norm(dim=0)": "pow(2).sum(0)"},
    "These are the edits before fact j; only edits after it harm it.": {"tril(-1)": "triu(1)"},
    "Its own edit is in the sum, but doesn't harm the fact.": {"tril(-1)": "tril()"},
}
WRONG = [(pieces, why) for why, pieces in (SHAPE | COMMON | KEEPING | FORECAST).items()]


def check(ask, draw):
    n = 12
    K = normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)  # they have a common direction
    K[:, 1] = K[:, 0] + 0.1 * K[:, 1]
    rho = (K.T @ K) / (K * K).sum(0)[:, None]
    told = "Return four numbers: mean, standard deviation, root mean square, kurtosis."
    found = numbers(ask("shape", rho), 4, told)
    mean, _, rms, _ = wanted = torch.stack(shape(rho))
    likely = {why: torch.stack(mistaken(shape, how)(rho)) for why, how in SHAPE.items()}
    agree(found, wanted, "shape", likely, note="mean, sd, rms, kurtosis")
    C, L = uneven(draw, 16)
    K = L @ (normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)) * (0.3 * normal(draw, n)).exp()
    k0 = L @ normal(draw, 16) + 0.3 * K.mean(1)
    likely = {why: mistaken(common, how)(K, C) for why, how in COMMON.items()}
    agree(ask("common", K, C), common(K, C), "common", likely, note="one number", told=True)
    likely = {why: mistaken(keeping, how)(K, k0, C) for why, how in KEEPING.items()}
    wanted = keeping(K, k0, C)
    agree(ask("keeping", K, k0, C), wanted, "keeping", likely, note="one row per edit")
    rho = normal(draw, n, n).fill_diagonal_(1)  # of both signs, so that some cancel in a sum
    likely = {why: mistaken(forecast, how)(rho) for why, how in FORECAST.items()}
    found = ask("forecast", rho)
    agree(found, forecast(rho), "the forecast", likely, note="one number per fact")
    return f"solved: mean {mean:.2f}, rms {rms:.2f}; keeping one key can remove much of both."
