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
from lessons.marking import agree, normal, numbers, uneven

WRONG = [
    ({"rho[~torch.eye(len(rho), dtype=torch.bool)]": "rho.flatten()"}, "diagonal"),
    ({"m2**2 - 3": "m2**2"}, "Gaussian"),
    ({"x.pow(2).mean().sqrt()": "m2.sqrt()"}, "rms is about 0"),
    ({"x - x.mean()": "x"}, "around 0"),
    ({"D = K.T @ torch.linalg.solve(C, K)": "D = K.T @ K"}, "not whitened"),
    ({"D.mean() / D.diagonal().mean()": "D.sum() / D.diagonal().sum()"}, "one n too many"),
    ({"U, u0 = torch.linalg.solve(C, K), torch.linalg.solve(C, k0)":
      "u0 = k0\nU = torch.linalg.solve(C, K - torch.outer(k0, k0 @ K) / (k0 @ k0))",
      "D = K.T @ U - torch.outer(K.T @ u0, u0 @ K) / (k0 @ u0)":
      "K = K - torch.outer(k0, k0 @ K) / (k0 @ k0)\nD = K.T @ U"}, "raw keys"),
    ({" - torch.outer(K.T @ u0, u0 @ K) / (k0 @ u0)": ""}, "not kept"),
    ({"return D / D.diagonal()[:, None]": "return D / (K * U).sum(0)[:, None]"}, "A in both"),
    ({"forecast": "return (rho - torch.eye(len(rho))).norm(dim=0)"}, "before fact j"),
    ({"norm(dim=0)": "norm(dim=1)"}, "a row"),
    ({"norm(dim=0)": "sum(0).abs()"}, "cancel"),
    ({"rho.tril(-1)": "rho.tril()"}, "its own edit"),
]  # fmt: skip


def _shape(x):
    away = x - x.mean()
    m2 = away.pow(2).mean()
    kurtosis = away.pow(4).mean() / m2**2 - 3
    return torch.stack([x.mean(), m2.sqrt(), x.pow(2).mean().sqrt(), kurtosis])


def check(ask, draw):
    n = 12
    K = normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)  # they have a common direction
    K[:, 1] = K[:, 0] + 0.1 * K[:, 1]
    rho = (K.T @ K) / (K * K).sum(0)[:, None]
    told = "Return four numbers: mean, standard deviation, root mean square, kurtosis."
    found = numbers(ask("shape", rho), 4, told)
    x = rho[~torch.eye(n, dtype=torch.bool)]
    mean, sd, rms, kurtosis = wanted = _shape(x)
    raw = x.pow(4).mean() / x.pow(2).mean() ** 2 - 3
    likely = {
        "The diagonal is included: n entries that are 1 by definition make any tail heavy.": _shape(
            rho.flatten()
        ),
        "A Gaussian should give 0, and here it gives 3.": wanted + 3 * torch.eye(4)[3].double(),
        "The mean is subtracted from the rms: rms is about 0, sd about the mean, and only the "
        "first adds up.": torch.stack([mean, sd, sd, kurtosis]),
        "You measure the spread, sd and kurtosis, around 0: both measure how the entries scatter "
        "around their mean.": torch.stack([mean, rms, rms, raw]),
        "You measure the kurtosis around 0: it measures how the entries scatter around their "
        "mean.": (torch.stack([mean, sd, rms, raw])),
        "m₂ divides by one less than there are entries; it is their mean.": torch.stack(
            [mean, x.std(), rms, (x - mean).pow(4).mean() / x.var() ** 2 - 3]
        ),
        "The diagonal is included, as zeros: leave it out.": (
            _shape((rho - torch.eye(n)).flatten())
        ),
        "These are the entries of one half. ρ is not symmetric, so both halves count.": (
            _shape(rho[torch.ones(n, n).triu(1).bool()])
        ),
    }
    agree(found, wanted, "shape", likely, note="mean, sd, rms, kurtosis")
    C, L = uneven(draw, 16)
    K = L @ (normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)) * (0.3 * normal(draw, n)).exp()
    k0 = L @ normal(draw, 16) + 0.3 * K.mean(1)
    D = K.T @ torch.linalg.solve(C, K)
    wanted, plain = D.mean() / D.diagonal().mean(), K.T @ K
    unit = D / D.diagonal().sqrt() / D.diagonal().sqrt()[:, None]
    likely = {
        "The keys are not whitened: this is the fraction for the raw keys.": (
            plain.mean() / plain.diagonal().mean()
        ),
        "There is one n too many: the sum of all products is n² ‖m‖², and you need n ‖m‖².": (
            n * wanted
        ),
        "Use n ‖m‖²: this compares one mean with the lengths of all keys.": wanted / n,
        "You normalize the keys first; long keys should count for more.": unit.mean(),
        "This multiplies by C; whitened keys use its inverse.": (
            (K.T @ C @ K).mean() / (K.T @ C @ K).diagonal().mean()
        ),
        "The diagonal is left out: it is part of the mean.": (D.sum() - D.trace())
        / (n * D.trace()),
    }
    agree(ask("common", K, C), wanted, "common", likely, note="one number", told=True)
    u0 = torch.linalg.solve(C, k0)
    A = torch.linalg.inv(C) - torch.outer(u0, u0) / (k0 @ u0)
    kept = K.T @ A @ K
    without = K - torch.outer(k0, k0 @ K) / (k0 @ k0)
    other = without.T @ torch.linalg.solve(C, without)
    white = K.T @ (torch.linalg.inv(C) - torch.outer(u0, u0) / (u0 @ u0)) @ K
    likely = {
        "k0 is projected out of the raw keys: it should be orthogonal to the whitened keys, "
        "because of C⁻¹.": other / other.diagonal()[:, None],
        "k0 is not kept: this is the unchanged ρ.": D / D.diagonal()[:, None],
        "Use A in both places, numerator and denominator: an insert still has to write its "
        "whole key.": (kept / D.diagonal()[:, None]),
        "C⁻¹k0 is divided by its own squared length; A divides by k0ᵀC⁻¹k0.": (
            white / white.diagonal()[:, None]
        ),
        "Row i should be divided by its own k_iᵀ A k_i; this divides columns.": (
            kept / kept.diagonal()
        ),
        "These are the products: divide row i by its k_iᵀ A k_i.": kept,
    }
    wanted = kept / kept.diagonal()[:, None]
    agree(ask("keeping", K, k0, C), wanted, "keeping", likely, note="one row per edit")
    rho = normal(draw, n, n).fill_diagonal_(1)  # of both signs, so that some cancel in a sum
    later, away = rho.tril(-1), rho - torch.eye(n)
    likely = {
        "Edits before fact j existed when it was written, so only later edits harm it.": away.norm(
            dim=0
        ),
        "These sums run along a row: the effect of an edit on others.": later.norm(dim=1),
        "Signs cancel here, but not in unrelated residuals: add up squares.": later.sum(0).abs(),
        "You add up sizes. In unrelated directions, add up squares.": later.abs().sum(0),
        "These are root mean squares; the total change is a sum.": later.norm(dim=0) / n**0.5,
        "These sums run along a row, and over later facts: the effect of edit j on them.": (
            rho.triu(1).norm(dim=1)
        ),
        "These are sums of squares: a length is the root of one.": later.pow(2).sum(0),
        "These are the edits before fact j; only edits after it harm it.": rho.triu(1).norm(dim=0),
        "Its own edit is in the sum, but doesn't harm the fact.": rho.tril().norm(dim=0),
    }
    agree(
        ask("forecast", rho), later.norm(dim=0), "the forecast", likely, note="one number per fact"
    )
    return f"solved: mean {mean:.2f}, rms {rms:.2f}; keeping one key can remove much of both."
