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
from lessons.marking import agree, mistaken, numbers

LOW, HIGH = "(p + a / 2 - half) / (1 + a)", "(p + a / 2 + half) / (1 + a)"
TEXTBOOK = {"Z * Z / n": "0.0"}
LIKELY = {  # message: the pieces of the solution that the mistake replaces
    "This is the textbook interval: for 0 of 20 it has no width, as if it were certain that "
    "nothing is ever right.": TEXTBOOK,
    "This is almost right. Also divide both ends by 1 + z²/n.": {" / (1 + a)": ""},
    "The center is not p̂ itself: it is shifted toward ½, by z²/2n.": {"p + a / 2": "p"},
    "high comes first here.": {f"{LOW}, {HIGH}": f"{HIGH}, {LOW}"},
    "These are the center and half of the width; return the two ends.": {
        f"{LOW}, {HIGH}": "(p + a / 2) / (1 + a), half / (1 + a)"
    },
    "The root is missing.": {"math.sqrt(": "("},
    "z is missing before the root.": {"Z * math.sqrt": "math.sqrt"},
    "z²/4n² is missing under the root.": {" + a / (4 * n)": ""},
    "Under the root, use z²/4n², with the square of n.": {"a / (4 * n)": "a / 4"},
    "The center is shifted by z²/2n; here it is twice as much.": {"a / 2": "a"},
    "This is the 90% interval; for a two-sided 95% interval, z is 1.96.": {
        "p, a =": "Z = 1.644854; p, a ="
    },
    "This is the textbook interval, clipped at 0 and 1: clipping doesn't restore any width for 0 "
    "of 20.": TEXTBOOK | {LOW: "max(0.0, p - half)", HIGH: "min(1.0, p + half)"},
}
WRONG = [(pieces, why) for why, pieces in LIKELY.items()]


def check(ask, draw):
    some = int(torch.randint(2, 9, (), generator=draw))
    # first a case in which the textbook interval leaves [0, 1], so that clipping it shows
    for hits, n in ((19, 20), (0, 20), (some, 10), (20 + some, 100)):
        found = numbers(ask("wilson", hits, n), 2, "Return two numbers, low and high.", "an end")
        likely = {why: mistaken(wilson, how)(hits, n) for why, how in LIKELY.items()}
        agree(found, torch.tensor(wilson(hits, n)), "the pair of ends", likely)
    low, high = (100 * x for x in found.tolist())
    return f"solved: {20 + some} of 100 is anything from {low:.0f} to {high:.0f}%."
