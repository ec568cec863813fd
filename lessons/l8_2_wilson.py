"""★★ An interval that stays honest

In n cases, a fraction p̂ = hits / n is right. The textbook interval, p̂ ± z √(p̂(1 − p̂)/n), has no
width at all for 0 of 20 and leaves [0, 1] for 19 of 20. Wilson reverses the question: for which
true p would p̂ not be surprising, |p̂ − p| ≤ z √(p(1 − p)/n)? That is a quadratic in p. Return its
two roots.

    hits, n     numbers, 0 ≤ hits ≤ n, n ≥ 1         z is 1.959964, for 95%
    returns (low, high)

Hint: square it: (p̂ − p)² = z² p (1 − p) / n. In the end it is
(p̂ + z²/2n ± z √(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n).
"""

import math

import torch

Z = 1.959964


def wilson(hits: int, n: int) -> tuple[float, float]:
    # solution
    p, a = hits / n, Z * Z / n
    half = Z * math.sqrt(p * (1 - p) / n + a / (4 * n))
    return (p + a / 2 - half) / (1 + a), (p + a / 2 + half) / (1 + a)


# --- checks
from lessons.marking import agree, numbers

WRONG = [
    (
        "p = hits / n\nhalf = Z * math.sqrt(p * (1 - p) / n)\nreturn p - half, p + half",
        "no width",
    ),
    ({" / (1 + a)": ""}, "divide"),
    ({"p + a / 2": "p"}, "shifted"),
    ({"p, a =": "Z = 1.644854\np, a ="}, "90%"),
    (
        "p = hits / n\nhalf = Z * math.sqrt(p * (1 - p) / n)\n"
        "return max(0.0, p - half), min(1.0, p + half)",
        "clipping",
    ),
]


def roots(hits, n, z=Z):
    p, a = hits / n, z * z / n
    half = z * (p * (1 - p) / n + a / (4 * n)) ** 0.5
    return torch.tensor([p + a / 2 - half, p + a / 2 + half]).double(), 1 + a, half


def check(ask, draw):
    some = int(torch.randint(2, 9, (), generator=draw))
    # first a case in which the textbook interval leaves [0, 1], so that clipping it shows
    for hits, n in ((19, 20), (0, 20), (some, 10), (20 + some, 100)):
        found = numbers(ask("wilson", hits, n), 2, "Return two numbers, low and high.", "an end")
        pair, over, half = roots(hits, n)
        p, plain = hits / n, Z * (hits / n * (1 - hits / n) / n) ** 0.5
        ends = torch.tensor([p - plain, p + plain]).double()
        shifted = torch.tensor([p - half, p + half]).double() / over
        middle, at = p + Z * Z / (2 * n), torch.tensor([-1.0, 1.0])
        ninety = roots(hits, n, 1.644854)
        likely = {
            "This is the textbook interval: for 0 of 20 it has no width, as if it were certain "
            "that nothing is ever right.": ends,
            "This is almost right. Also divide both ends by 1 + z²/n.": pair,
            "The center is not p̂ itself: it is shifted toward ½, by z²/2n.": shifted,
            "high comes first here.": (pair / over).flip(0),
            "These are the center and half of the width; return the two ends.": (
                torch.tensor([middle, half]) / over
            ),
            "The root is missing.": (middle + half**2 / Z * at) / over,
            "z is missing before the root.": (middle + half / Z * at) / over,
            "z²/4n² is missing under the root.": (middle + plain * at) / over,
            "Under the root, use z²/4n², with the square of n.": (
                middle + Z * (p * (1 - p) / n + Z * Z / (4 * n)) ** 0.5 * at
            )
            / over,
            "The center is shifted by z²/2n; here it is twice as much.": (
                (pair + Z * Z / (2 * n)) / over
            ),
            "This is the 90% interval; for a two-sided 95% interval, z is 1.96.": ninety[0]
            / ninety[1],
            "This is the textbook interval, clipped at 0 and 1: clipping doesn't restore any "
            "width for 0 of 20.": (ends.clamp(0, 1)),
        }
        agree(found, pair / over, "the pair of ends", likely)
    low, high = (100 * x for x in found.tolist())
    return f"solved: {20 + some} of 100 is anything from {low:.0f} to {high:.0f}%."
