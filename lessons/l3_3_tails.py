"""★★ Reading a matrix of overlaps

Sum up the entries of ρ off its diagonal by two numbers: their root mean square, and their kurtosis

    m₄ / m₂² − 3     m_p = mean of (x − mean)^p

which is 0 for a Gaussian and large when a few entries lie far out.

    rho  (n, n), diagonal 1
    returns (root mean square, kurtosis), two numbers

The keys stand in the order of their edits, one edit after another, and ρ(i, j), in row i, is what
edit i does to fact j. Now one number per fact: the length of what has landed on it in the end,

    √ Σ ρ(i, j)²     over the edits i that can still harm fact j,

if all residuals are equally long and point in unrelated directions, so that squares add up.

    returns (n,)

Hint: rho[~torch.eye(n, dtype=torch.bool)] takes the entries off the diagonal. A root mean square
has no mean taken away, a kurtosis has.
"""

import torch
from torch import Tensor


def tails(rho: Tensor) -> tuple[Tensor, Tensor]:
    # solution
    x = rho[~torch.eye(len(rho), dtype=torch.bool)]
    away = x - x.mean()
    return x.pow(2).mean().sqrt(), away.pow(4).mean() / away.pow(2).mean() ** 2 - 3


def forecast(rho: Tensor) -> Tensor:
    # solution
    return rho.tril(-1).norm(dim=0)


# --- checks
from lessons.marking import agree, normal, numbers

WRONG = [
    ({"rho[~torch.eye(len(rho), dtype=torch.bool)]": "rho.flatten()"}, "diagonal"),
    ({" ** 2 - 3": " ** 2"}, "Gaussian"),
    ({"x.pow(2).mean().sqrt()": "away.pow(2).mean().sqrt()"}, "standard deviation"),
    ({"x - x.mean()": "x"}, "around 0"),
    ({"forecast": "return (rho - torch.eye(len(rho))).norm(dim=0)"}, "before fact j"),
    ({"norm(dim=0)": "norm(dim=1)"}, "a row"),
    ({"norm(dim=0)": "sum(0).abs()"}, "cancel"),
    ({"rho.tril(-1)": "rho.tril()"}, "its own edit"),
]


def _tails(x):
    away = x - x.mean()
    return torch.stack([x.pow(2).mean().sqrt(), away.pow(4).mean() / away.pow(2).mean() ** 2 - 3])


def check(ask, draw):
    n = 12
    K = normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)  # they lean to one side
    K[:, 1] = K[:, 0] + 0.1 * K[:, 1]
    rho = (K.T @ K) / (K * K).sum(0)[:, None]
    found = numbers(ask("tails", rho), 2, "Return two numbers: root mean square, kurtosis.")
    x = rho[~torch.eye(n, dtype=torch.bool)]
    rms, kurtosis = wanted = _tails(x)
    likely = {
        "The diagonal is in it: n entries that are 1 by definition make any tail heavy.": _tails(
            rho.flatten()
        ),
        "A Gaussian should come out as 0, and here it is 3.": torch.stack([rms, kurtosis + 3]),
        "The first number is the standard deviation: keys that all lean to one side do overlap, so "
        "do not take the mean away there.": torch.stack([x.std(correction=0), kurtosis]),
        "The kurtosis here is taken around 0: it asks how the entries scatter around their mean.": (
            torch.stack([rms, x.pow(4).mean() / x.pow(2).mean() ** 2 - 3])
        ),
        "m₂ is not squared: m₄ / m₂² − 3.": (
            torch.stack([rms, (x - x.mean()).pow(4).mean() / x.var(correction=0) - 3])
        ),
        "The places of the diagonal are in it, as zeros: leave them out.": (
            _tails((rho - torch.eye(n)).flatten())
        ),
        "These are the entries of one half. ρ is not symmetric, so both halves count.": (
            _tails(rho[torch.ones(n, n).triu(1).bool()])
        ),
        "The first number is a mean of sizes; take the root of the mean of squares.": (
            torch.stack([x.abs().mean(), kurtosis])
        ),
        "m₂ divides by one less than there are entries; it is their mean.": (
            torch.stack([rms, (x - x.mean()).pow(4).mean() / x.var() ** 2 - 3])
        ),
        "The first number is the mean square; no root was taken.": torch.stack([rms**2, kurtosis]),
        "The root mean square comes first, then the kurtosis.": torch.stack([kurtosis, rms]),
    }
    agree(found, wanted, "the pair of numbers", likely)
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
    return f"solved: rms {rms:.2f}, kurtosis {kurtosis:.1f}; and only later edits do harm."
