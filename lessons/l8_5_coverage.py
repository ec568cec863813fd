"""★★ How often does it contain the truth?

A 95% interval should contain the true value in 95 of 100 experiments. If you know the truth, you
can test this: simulate many experiments, compute the interval of each, and count. An experiment
here has m numbers (the means of m streams). Four steps:

`ends`: Student's interval of each experiment,

    x̄ ± t s / √m,    s² = Σ (xⱼ − x̄)² / (m − 1)

`wider`: of two intervals, at either end the one that reaches further.

`coverage`: returns the fraction of the intervals that contain the truth.

`winners`: if the numbers are differences of two editors, a rule names a winner if the interval is
clear of 0. Returns the fraction of experiments in which the first editor is named, and the fraction
in which the second is named.

    means        (r, m)   a row per experiment: its m numbers
    t                     the factor of Student's distribution for m numbers
    low, high    (r,)     the ends of each interval; `wider` takes two pairs (low, high)
    truth                 the mean of the distribution from which all numbers were drawn

Hint: every row has its own center and its own width. Does the truth have to lie in the interval, or
the center of the interval close to all the others?
"""

import torch
from torch import Tensor


def ends(means: Tensor, t: float) -> tuple[Tensor, Tensor]:
    # solution
    middle, half = means.mean(1), t * means.std(1) / means.shape[1] ** 0.5
    return middle - half, middle + half


def wider(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    # solution
    return torch.minimum(one[0], other[0]), torch.maximum(one[1], other[1])


def coverage(low: Tensor, high: Tensor, truth: float) -> float:
    # solution
    return ((low <= truth) & (truth <= high)).double().mean().item()


def winners(low: Tensor, high: Tensor) -> tuple[float, float]:
    # solution
    return (low > 0).double().mean().item(), (high < 0).double().mean().item()


# --- checks
from lessons.marking import agree, normal, tensor

WRONG = [
    ({"t * means": "1.96 * means"}, "1.96"),
    ({" / means.shape[1] ** 0.5": ""}, "√m"),
    ({"std(1)": "std(1, correction=0)"}, "m − 1"),
    ({"std(1)": "std()"}, "own width"),
    ({"means.mean(1)": "means.mean()"}, "its own center"),
    ({"minimum": "maximum", "torch.maximum(one[1]": "torch.minimum(one[1]"}, "both"),
    ({"wider": "return one"}, "first of the two"),
    ({" & (truth <= high)": ""}, "one side"),
    ({"coverage": "return ((low > truth) | (truth > high)).double().mean()"}, "miss"),
    ({"coverage": "return ((low <= truth) & (truth <= high)).double().sum()"}, "number of"),
    ({"winners": "return (high > 0).double().mean(), (low < 0).double().mean()"}, "clear of 0"),
    ({"winners": "return (high < 0).double().mean(), (low > 0).double().mean()"}, "exchanged"),
]


def pair(found, size, what):
    """Two ends or two fractions in one tensor, so that they are compared together."""
    parts = list(found) if isinstance(found, list | tuple | Tensor) else [found]
    return torch.stack([tensor(part, size, what) for part in parts])


def check(ask, draw):
    t, m = 2.776, 5
    means = 0.7 + 0.1 * normal(draw, 3000, m).exp()  # skewed: one is far off
    truth = 0.7 + 0.1 * torch.tensor(0.5).double().exp().item()
    s, middle = means.std(1), means.mean(1)

    def around(half, middle=middle):
        return torch.stack([middle - half, middle + half])

    half = t * s / m**0.5
    likely = {
        "1.96 is for a known s; here s is computed from m numbers, and t is given.": (
            around(1.96 * s / m**0.5)
        ),
        "This is the interval for single numbers. The interval for their mean is shorter by √m.": (
            around(t * s)
        ),
        "s² divides by m − 1, because x̄ is computed from the same m numbers.": (
            around(t * means.std(1, correction=0) / m**0.5)
        ),
        "You use one s for all experiments: each has its own width, from its own m numbers.": (
            around(t * means.std() / m**0.5)
        ),
        "Every experiment has its own center, the mean of its row.": around(half, means.mean()),
        "√m is the root of the number of entries in a row, not of the number of rows.": (
            around(t * s / len(means) ** 0.5)
        ),
        "Divided by m: the mean of m numbers has a standard error of s / √m.": around(t * s / m),
        "You use s² instead of s.": around(t * s**2 / m**0.5),
    }
    found = pair(ask("ends", means, t), (3000,), "an end, one per experiment")
    agree(found, around(half), "the ends", likely)
    one, other = around(half), around(0.09, middle + 0.01 * normal(draw, 3000))
    short = torch.stack([torch.maximum(one[0], other[0]), torch.minimum(one[1], other[1])])
    wanted = torch.stack(wider(one, other))
    likely = {
        "This is the part that both have in common, the shorter interval.": short,
        "This is the first of the two: the other interval may reach further at an end.": one,
        "You use the longer interval as a whole: treat each end separately.": torch.where(
            one[1] - one[0] > other[1] - other[0], one, other
        ),
    }
    found = pair(ask("wider", tuple(one), tuple(other)), (3000,), "an end, one per experiment")
    agree(found, wanted, "the wider ends", likely)
    low, high = one
    inside = ((low <= truth) & (truth <= high)).double().mean()
    likely = {
        "You check only one side: an interval far below the truth does not contain it.": (
            (low <= truth).double().mean()
        ),
        "You check only one side: an interval far above the truth does not contain it.": (
            (truth <= high).double().mean()
        ),
        "This is the number of intervals; return a fraction.": inside * len(means),
        "This is the fraction of intervals that miss the truth.": 1 - inside,
    }
    agree(ask("coverage", low, high, truth), inside, "the share", likely)
    low, high = around(half, middle - truth + 0.02)
    first, second = (low > 0).double().mean(), (high < 0).double().mean()
    likely = {
        "These intervals only reach beyond 0: name a winner only if the whole interval is clear "
        "of 0.": (torch.stack([(high > 0).double().mean(), (low < 0).double().mean()])),
        "The two are exchanged: the first is ahead above 0.": torch.stack([second, first]),
        "The second is named where high < 0.": torch.stack([first, (high > 0).double().mean()]),
    }
    found = pair(ask("winners", low, high), (), "a share")
    agree(found, torch.stack([first, second]), "the fractions of winners", likely)
    return f"solved: if one number in many is far off, 95% are {inside:.0%}."
