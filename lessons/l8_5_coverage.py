"""★★ How often does it contain the truth?

A 95 % interval should contain the true value in 95 of 100 experiments. Whether it does can be
tried, where the truth is known: simulate many experiments, make the interval of each, and count. An
experiment here has m numbers (the means of m streams), and its interval is Student's,

    x̄ ± t s / √m,    s² = Σ (xⱼ − x̄)² / (m − 1)

    means   (r, m)    a row per experiment: its m numbers
    truth             the mean of the distribution from which all of them were drawn
    t                 the factor of Student's distribution for m numbers
    returns the share of the r intervals that contain the truth

Hint: every row has its own middle and its own width. Does the truth have to lie in the interval, or
the middle of the interval near all the others?
"""

import torch
from torch import Tensor


def coverage(means: Tensor, truth: float, t: float) -> float:
    # solution
    half = t * means.std(1) / means.shape[1] ** 0.5
    return ((means.mean(1) - truth).abs() <= half).double().mean().item()


# --- checks
from lessons.marking import agree, normal, tensor

BODY = (
    "half = t * means.std(1) / means.shape[1] ** 0.5\n"
    "return ((means.mean(1) - truth).abs() <= half).double().mean()"
)
WRONG = [
    (BODY.replace("t * ", "1.96 * "), "1.96"),
    (BODY.replace(" / means.shape[1] ** 0.5", ""), "√m"),
    (BODY.replace("std(1)", "std(1, correction=0)"), "m − 1"),
    (BODY.replace("- truth", "- means.mean()"), "middle of all"),
    (BODY.replace(".abs()", ""), "one side"),
    (BODY.replace("std(1)", "std()"), "own width"),
    (BODY.replace("<=", ">"), "miss"),
]


def check(ask, draw):
    t, m = 2.776, 5
    means = 0.7 + 0.1 * normal(draw, 3000, m).exp()  # skewed: one is far off
    truth = 0.7 + 0.1 * torch.tensor(0.5).double().exp().item()
    found = tensor(ask("coverage", means, truth, t), (), "the share")
    s, away = means.std(1), means.mean(1) - truth

    def share(half, away=away):
        return (away.abs() <= half).double().mean()

    half = t * s / m**0.5
    wanted = share(half)
    likely = {
        "1.96 is for an s that is known; s comes from m numbers, and t is given.": (
            share(1.96 * s / m**0.5)
        ),
        "This interval says where single numbers lie. That of their mean is shorter by √m.": (
            share(t * s)
        ),
        "s² divides by m − 1, as x̄ is itself made from the m numbers.": (
            share(t * means.std(1, correction=0) / m**0.5)
        ),
        "The middle of all experiments is not the truth, which is given.": (
            share(half, means.mean(1) - means.mean())
        ),
        "Only one side is looked at: an interval far below the truth does not contain it.": (
            (away <= half).double().mean()
        ),
        "One s for all experiments: each has its own width, from its own m numbers.": (
            share(t * means.std() / m**0.5)
        ),
        "This is the number of intervals; a share is asked for.": wanted * len(means),
        "√m is the root of how many numbers a row has, not of how many rows there are.": (
            share(t * s / len(means) ** 0.5)
        ),
        "Divided by m: the mean of m numbers has a standard error of s / √m.": share(t * s / m),
        "s² stands in the place of s.": share(t * s**2 / m**0.5),
        "The middle of an interval is the mean of its row.": share(half, means[:, 0] - truth),
        "This asks whether all intervals contain it: how many do?": 0 * wanted,
        "This is the share of intervals that miss the truth.": 1 - wanted,
    }
    agree(found, wanted, "the share", likely, tolerance=1e-9)
    return f"solved: where one number in many is far off, 95 % are {wanted:.0%}."
