"""★★ Reading a matrix of overlaps

Sum up the entries of ρ off its diagonal by four numbers: their mean, their standard deviation,
their root mean square (rms), and their kurtosis

    m₄ / m₂² − 3     m_p = mean of (x − mean)^p

which is 0 for a Gaussian and large when a few entries lie far out. The standard deviation is √m₂.

    shape     rho (n, n), diagonal 1 -> mean, sd, rms, kurtosis
    common    which share of the whitened keys' squared lengths lies in their mean: n ‖m‖² over the
              sum of all ‖x_i‖², where x_i are the whitened keys and m is their mean. Unrelated
              keys have about 1/n
    keeping   ρ of inserts that must leave one key k0 alone, Δ k0 = 0. The cheapest ones have
              A = C⁻¹ − C⁻¹ k0 k0ᵀ C⁻¹ / (k0ᵀ C⁻¹ k0) in the place of C⁻¹:
              ρ(i, j) = k_iᵀ A k_j / k_iᵀ A k_i
    forecast  one number per fact. The keys stand in the order of their edits, one edit after
              another, and ρ(i, j), in row i, is what edit i does to fact j. The length of what has
              landed on fact j in the end is √ Σ ρ(i, j)² over the edits i that can still harm it,
              if all residuals are equally long and point in unrelated directions

    K  (d_in, n), keys as columns     k0  (d_in,)     C  (d_in, d_in)
    shape returns four numbers, common a number, keeping (n, n), forecast (n,)

Hint: rho[~torch.eye(n, dtype=torch.bool)] takes the entries off the diagonal. With whitened keys X,
KᵀC⁻¹K = XᵀX, so no root of C is needed.
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
    ({"D.mean() / D.diagonal().mean()": "D.sum() / D.diagonal().sum()"}, "too many"),
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
    K = normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)  # they lean to one side
    K[:, 1] = K[:, 0] + 0.1 * K[:, 1]
    rho = (K.T @ K) / (K * K).sum(0)[:, None]
    told = "Return four numbers: mean, standard deviation, root mean square, kurtosis."
    found = numbers(ask("shape", rho), 4, told)
    x = rho[~torch.eye(n, dtype=torch.bool)]
    mean, sd, rms, kurtosis = wanted = _shape(x)
    raw = x.pow(4).mean() / x.pow(2).mean() ** 2 - 3
    likely = {
        "The diagonal is in it: n entries that are 1 by definition make any tail heavy.": _shape(
            rho.flatten()
        ),
        "A Gaussian should come out as 0, and here it is 3.": wanted + 3 * torch.eye(4)[3].double(),
        "The mean is taken off the rms: rms is about 0, sd about the mean, and what adds up is the "
        "first.": torch.stack([mean, sd, sd, kurtosis]),
        "The spread is taken around 0 here, sd and kurtosis: both ask how the entries scatter "
        "around their mean.": torch.stack([mean, rms, rms, raw]),
        "The kurtosis is taken around 0: it asks how the entries scatter around their mean.": (
            torch.stack([mean, sd, rms, raw])
        ),
        "m₂ divides by one less than there are entries; it is their mean.": torch.stack(
            [mean, x.std(), rms, (x - mean).pow(4).mean() / x.var() ** 2 - 3]
        ),
        "The places of the diagonal are in it, as zeros: leave them out.": (
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
        "The keys are not whitened: this is the share of the raw ones.": (
            plain.mean() / plain.diagonal().mean()
        ),
        "There is an n too many: the sum of all products is n² ‖m‖², and n ‖m‖² is asked.": (
            n * wanted
        ),
        "Take n ‖m‖²: this compares one mean with the lengths of all keys.": wanted / n,
        "The keys are made equally long first; long ones count for more here.": unit.mean(),
        "This multiplies with C; whitened keys have its inverse.": (
            (K.T @ C @ K).mean() / (K.T @ C @ K).diagonal().mean()
        ),
        "The diagonal is left out: it belongs to the mean.": (D.sum() - D.trace())
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
        "k0 is taken out of the raw keys: it should be orthogonal in the whitened ones, which C⁻¹ "
        "asks for.": other / other.diagonal()[:, None],
        "k0 is not kept: this is ρ as it was.": D / D.diagonal()[:, None],
        "A in both places, above and below: an insert still has to write all of its own key.": (
            kept / D.diagonal()[:, None]
        ),
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
        "Edits before fact j were there when it was written: later ones harm it.": away.norm(dim=0),
        "These sums run along a row: what an edit does to others.": later.norm(dim=1),
        "Here signs cancel; residuals in unrelated directions do not: squares add up.": later.sum(
            0
        ).abs(),
        "Sizes are added here; in unrelated directions squares add up.": later.abs().sum(0),
        "These are root mean squares; all that has landed is a sum.": later.norm(dim=0) / n**0.5,
        "These sums run along a row, and over later facts: what edit j does to them.": (
            rho.triu(1).norm(dim=1)
        ),
        "These are sums of squares: a length is the root of one.": later.pow(2).sum(0),
        "These are the edits before fact j; those after it harm it.": rho.triu(1).norm(dim=0),
        "Its own edit is in the sum, and does a fact no harm.": rho.tril().norm(dim=0),
    }
    agree(
        ask("forecast", rho), later.norm(dim=0), "the forecast", likely, note="one number per fact"
    )
    return f"solved: mean {mean:.2f}, rms {rms:.2f}; one kept key can take much of both."
