"""★★ Reading a matrix of overlaps

Sum up the entries of ρ off its diagonal by two numbers: their root mean square, and their kurtosis

    m₄ / m₂² − 3     m_p = mean of (x − mean)^p

which is 0 for a Gaussian and large when a few entries lie far out.

    rho  (n, n), diagonal 1
    returns (root mean square, kurtosis), two numbers

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


# --- checks
from lessons.marking import agree, normal, several, tensor

SOLVED = (
    "away = x - x.mean()\n"
    "return x.pow(2).mean().sqrt(), away.pow(4).mean() / away.pow(2).mean() ** 2"
)
OFF = "x = rho[~torch.eye(len(rho), dtype=torch.bool)]\n"
WRONG = [
    (f"x = rho.flatten()\n{SOLVED} - 3", "diagonal"),
    (f"{OFF}{SOLVED}", "Gaussian"),
    (f"{OFF}x = x - x.mean()\n{SOLVED} - 3", "standard deviation"),
    (
        f"{OFF}return x.pow(2).mean().sqrt(), x.pow(4).mean() / x.pow(2).mean() ** 2 - 3",
        "around 0",
    ),
]


def _tails(x):
    away = x - x.mean()
    return torch.stack([x.pow(2).mean().sqrt(), away.pow(4).mean() / away.pow(2).mean() ** 2 - 3])


def check(ask, draw):
    n = 12
    K = normal(draw, 16, n) + 0.8 * normal(draw, 16, 1)  # they lean to one side
    K[:, 1] = K[:, 0] + 0.1 * K[:, 1]
    rho = (K.T @ K) / (K * K).sum(0)[:, None]
    found = ask("tails", rho)
    several(found, 2, "Return two numbers: root mean square, kurtosis.")
    found = torch.stack([tensor(x, (), "a number") for x in found])
    x = rho[~torch.eye(n, dtype=torch.bool)]
    rms, kurtosis = wanted = _tails(x)
    upper = rho[torch.ones(n, n, dtype=torch.bool).triu(1)]
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
        "Half of the entries are missing: ρ is not symmetric.": _tails(upper),
    }
    agree(found, wanted, "the pair of numbers", likely)
    return f"solved: rms {rms:.2f}, kurtosis {kurtosis:.1f}: read them together."
