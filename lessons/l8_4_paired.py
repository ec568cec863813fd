"""★★ Is one better, or was it luck?

Two editors have been measured on the *same* cases, a value per case each. Hard cases are hard for
both, so look at the differences, case by case: their mean, and a 95 % interval by bootstrap. Draw n
cases with replacement, many times, take the mean difference each time, and cut off 2.5 % at both
ends. The draws are given, so that everybody finds the same.

    a, b    (n,)       value of editor A and of editor B for each case
    draws   (r, n)     each row: numbers of the cases of one resample
    returns (mean of a − b, low, high)

Hint: x[draws] is (r, n). torch.quantile(x, 0.025) cuts the lowest 2.5 % off.
"""

import torch
from torch import Tensor


def paired(a: Tensor, b: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # solution
    difference = a - b
    means = difference[draws].mean(1)
    return difference.mean(), means.quantile(0.025), means.quantile(0.975)


# --- checks
from lessons.marking import agree, normal, several, tensor

WRONG = [
    (
        "x, y = a[draws].mean(1), b[draws].mean(1)\nlow, high = 0.025, 0.975\n"
        "return (a - b).mean(), x.quantile(low) - y.quantile(high), "
        "x.quantile(high) - y.quantile(low)",
        "each alone",
    ),
    (
        "means = a[draws].mean(1) - b[draws.roll(1, 0)].mean(1)\n"
        "return (a - b).mean(), means.quantile(0.025), means.quantile(0.975)",
        "same cases",
    ),
    (
        "means = (a - b)[draws].mean(1)\n"
        "return (a - b).mean(), means.quantile(0.05), means.quantile(0.95)",
        "90 %",
    ),
    (
        "return (a - b).mean(), (a - b).quantile(0.025), (a - b).quantile(0.975)",
        "single cases",
    ),
    (
        "means = (b - a)[draws].mean(1)\n"
        "return (b - a).mean(), means.quantile(0.025), means.quantile(0.975)",
        "turned round",
    ),
]


def check(ask, draw):
    n, r = 40, 500
    hard = 0.5 + 0.3 * normal(draw, n)
    a, b = hard + 0.04 + 0.08 * normal(draw, n), hard + 0.08 * normal(draw, n)
    draws = torch.randint(0, n, (r, n), generator=draw)
    found = ask("paired", a, b, draws)
    several(found, 3, "Return three numbers: mean, low, high.")
    found = torch.stack([tensor(x, (), "a number") for x in found])
    mean = (a - b).mean()

    def ends(means, cut=0.025, mean=mean):
        return torch.stack([mean, means.quantile(cut), means.quantile(1 - cut)])

    x, y, means = a[draws].mean(1), b[draws].mean(1), (a - b)[draws].mean(1)
    apart = [mean, x.quantile(0.025) - y.quantile(0.975), x.quantile(0.975) - y.quantile(0.025)]
    wanted = ends(means)
    likely = {
        "The ends of A's interval minus those of B's, each alone: what both share, hard and easy "
        "cases, counts twice here instead of not at all.": torch.stack(apart),
        "A and B are drawn apart. A resample has to take the same cases for both.": (
            ends(x - b[draws.roll(1, 0)].mean(1))
        ),
        "This is the 90 % interval: cut off 2.5 % at *each* end.": ends(means, 0.05),
        "This says how single cases scatter. How sure is their mean?": ends(a - b),
        "Turned round: a − b was asked, and this is b − a.": ends(-means, mean=-mean),
    }
    agree(found, wanted, "(mean, low, high)", likely)
    wide = ((apart[2] - apart[1]) / (wanted[2] - wanted[1])).item()
    return f"solved: taken apart, the interval would be {wide:.1f} times as wide."
