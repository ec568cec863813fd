"""★★ How many cases for ± 3 points?

Before anything runs: how many cases are needed so that a 95 % interval is at most ± half wide? With
the Gaussian approximation it is the smallest n with z √(variance of one case / n) ≤ half. Return it
for three questions:

    1  how good is A?                         a case is right or wrong, right with probability p_a
    2  how much better is A than B, when each is measured on n cases *of its own*?
    3  the same on n cases that are *common* to both; a share `both` of them is right under both

    p_a, p_b, both, half    numbers between 0 and 1;  z is 1.959964
    returns three whole numbers

Work it out first: the variance of right or wrong is p (1 − p). Of a difference it is the sum of
both variances, minus twice the covariance, and for right or wrong that is both − p_a p_b.

Hint: solve for n and round up: math.ceil.
"""

import math

Z = 1.959964


def cases(p_a: float, p_b: float, both: float, half: float) -> tuple[int, int, int]:
    # solution
    one, other = p_a * (1 - p_a), p_b * (1 - p_b)
    common = one + other - 2 * (both - p_a * p_b)
    return tuple(math.ceil(Z**2 * v / half**2) for v in (one, one + other, common))


# --- checks
import torch

from lessons.marking import Wrong, several, tensor

BODY = (
    "one, other = p_a * (1 - p_a), p_b * (1 - p_b)\n"
    "common = one + other - 2 * (both - p_a * p_b)\n"
    "return tuple({} for v in (one, one + other, common))"
)
WRONG = [
    (BODY.format("int(Z**2 * v / half**2)"), "round up"),
    (BODY.format("math.ceil(Z * v**0.5 / half)"), "square"),
    (BODY.format("math.ceil(Z**2 * v / (half / 2) ** 2)"), "whole width"),
    (
        BODY.replace(" - p_a * p_b", "").format("math.ceil(Z**2 * v / half**2)"),
        "covariance",
    ),
    (
        BODY.replace("p_a * (1 - p_a), p_b * (1 - p_b)", "0.25, 0.25").format(
            "math.ceil(Z**2 * v / half**2)"
        ),
        "worst",
    ),
]


def check(ask, draw):
    for half in (0.03, 0.05):
        p_a, p_b = (0.6 + 0.3 * torch.rand(2, generator=draw).double()).tolist()
        both = min(p_a, p_b) - 0.03
        found = ask("cases", p_a, p_b, both, half)
        several(found, 3, "Return three whole numbers.")
        found = torch.stack([tensor(x, (), "a number of cases") for x in found])
        one, other = p_a * (1 - p_a), p_b * (1 - p_b)
        joint = one + other - 2 * (both - p_a * p_b)
        v = torch.tensor([one, one + other, joint]).double()
        exact = Z**2 * v / half**2
        if torch.equal(found, exact.ceil()):
            continue
        given = f"p_a = {p_a:.2f}, p_b = {p_b:.2f}, both = {both:.2f}, ± {half}"
        whole = Z**2 * torch.tensor([0.25, 0.5, 0.5 - 2 * (both - p_a * p_b)]) / half**2
        bare = torch.tensor([one, one + other, one + other - 2 * both]).double()
        likely = {
            "One case too few: round up.": exact.floor(),
            "n stands under a root, so half the width costs four times the cases: square it.": (
                exact.sqrt().ceil()
            ),
            "± half is half of the interval's whole width: do not halve it again.": (
                4 * exact
            ).ceil(),
            "`both` alone is no covariance: independent editors are right together, too, in a "
            "share p_a p_b.": (Z**2 * bare / half**2).ceil(),
            "This is the worst case, p = ½. You know more here.": whole.double().ceil(),
        }
        for reason, mistaken in likely.items():
            if torch.equal(found, mistaken):
                raise Wrong(f"{reason} ({given}: {exact.ceil().int().tolist()})")
        raise Wrong(f"{given}: {exact.ceil().int().tolist()}, not {found.int().tolist()}.")
    least = [int(x) for x in exact.ceil()]
    return f"solved: {least[0]} for one, {least[1]} for a difference, {least[2]} if it is paired."
