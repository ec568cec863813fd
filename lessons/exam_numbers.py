"""Exam questions with individual numbers for each student, computed here by hand.

Each function draws small whole numbers and computes its answer step by step, as a student would on
paper. `given` and `value` hold the same as numbers: a test asks the library and the exercises for
the same value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

Z = 1.96  # two-sided 95 % of the normal distribution


class Question(NamedTuple):
    """A question with its answer and the page it comes from, and its numbers if it has any."""

    page: str
    text: str
    answer: str
    given: tuple = ()
    value: tuple[float, ...] = ()


def _keys(draw: Random) -> tuple[list[int], list[int]]:
    """Two keys of two whole numbers each, neither parallel nor orthogonal."""
    while True:
        a, b = ([draw.randint(1, 5), draw.randint(-4, 5)] for _ in range(2))
        if a[0] * b[1] != a[1] * b[0] and a[0] * b[0] + a[1] * b[1]:
            return a, b


def _dot(a: list[int], b: list[int], c: list[int]) -> float:
    """The product aᵀ C⁻¹ b for a diagonal C."""
    return sum(x * y / z for x, y, z in zip(a, b, c, strict=True))


def crosstalk(draw: Random) -> Question:
    c, v, w = draw.randint(2, 9) / 10, draw.randint(1, 9), draw.randint(1, 9)
    return Question(
        "01",
        f"Two keys of length 1 have the cosine {c}. A memory is the sum of outer products `W = v1 "
        f"k1ᵀ + v2 k2ᵀ` with the values v1 = {v} and v2 = {w}, which are single numbers. What is "
        "the output for k1, and what is it for k2?",
        f"The output for k1 is {v} + {c} · {w} = {v + c * w:.3f}, and for k2 it is {w} + {c} · "
        f"{v} = {w + c * v:.3f}. Each output has the other value mixed in.",
        (c, v, w),
        (v + c * w, w + c * v),
    )


def ridge(draw: Random) -> Question:
    k, v, strength = (
        [draw.randint(1, 4), draw.randint(1, 4)],
        draw.randint(2, 9),
        draw.randint(1, 9),
    )
    square = k[0] ** 2 + k[1] ** 2
    W = [v * x / (square + strength) for x in k]
    return Question(
        "01",
        f"Ridge regression with the strength {strength} fits one pair: the key k = {tuple(k)} and "
        f"the value {v}. What is the matrix W, which has one row of two entries?",
        f"W = v kᵀ / (kᵀk + {strength}) = {v} · {tuple(k)} / ({square} + {strength}) = "
        f"({W[0]:.3f}, {W[1]:.3f}).",
        (k, v, strength),
        tuple(W),
    )


def share(draw: Random) -> Question:
    (a, b), c = _keys(draw), [draw.randint(1, 4), draw.randint(1, 4)]
    q, overlap = _dot(a, a, c), _dot(a, b, c)
    return Question(
        "02",
        f"The second moment C is diagonal with the entries {tuple(c)}. An edit is written at the "
        f"key k1 = {tuple(a)}. Compute ρ(1, 2), the fraction of it that reaches k2 = {tuple(b)}.",
        f"k1ᵀC⁻¹k2 = {overlap:.3f} and q1 = k1ᵀC⁻¹k1 = {q:.3f}, so ρ(1, 2) = {overlap / q:.3f}.",
        (a, b, c),
        (overlap / q,),
    )


def way_back(draw: Random) -> Question:
    q, rho = draw.randint(1, 9), draw.choice([-3, -2, -1, 1, 2, 3]) / 10
    other = draw.randint(q + 1, q + 9)
    return Question(
        "02",
        f"Two keys have q1 = {q} and q2 = {other}, where q is kᵀC⁻¹k, and ρ(1, 2) = {rho}. What is "
        "ρ(2, 1)?",
        f"Both have the same numerator, so ρ(2, 1) = ρ(1, 2) q1 / q2 = {rho} · {q} / {other} = "
        f"{rho * q / other:.3f}.",
        (q, other, rho),
        (rho * q / other,),
    )


def insert(draw: Random) -> Question:
    W = [[draw.randint(-2, 3) for _ in range(2)] for _ in range(2)]
    k, c = [draw.randint(1, 3), draw.randint(1, 3)], [draw.randint(1, 3), draw.randint(1, 3)]
    v = [draw.randint(4, 19), draw.randint(4, 19)]
    missing = [v[i] - W[i][0] * k[0] - W[i][1] * k[1] for i in range(2)]
    u, q = [k[j] / c[j] for j in range(2)], _dot(k, k, c)
    change = [[missing[i] * u[j] / q for j in range(2)] for i in range(2)]
    rows = "; ".join(f"{row[0]:.3f}, {row[1]:.3f}" for row in change)
    return Question(
        "02",
        f"W has the rows {tuple(W[0])} and {tuple(W[1])}, and C is diagonal with the entries "
        f"{tuple(c)}. Which change Δ of W writes the value v = {tuple(v)} at the key "
        f"k = {tuple(k)} and is cheapest for general text?",
        f"v − W k = {tuple(missing)}, C⁻¹k = ({u[0]:.3f}, {u[1]:.3f}) and q = {q:.3f}, so "
        f"Δ = (v − W k)(C⁻¹k)ᵀ / q = [{rows}].",
        (W, k, v, c),
        (*change[0], *change[1]),
    )


def two_edits(draw: Random) -> Question:
    (a, b), v, w = _keys(draw), draw.randint(1, 9), draw.randint(1, 9)
    one = [1, 1]
    second = w - v * _dot(a, b, one) / _dot(a, a, one)
    left = v + second * _dot(b, a, one) / _dot(b, b, one)
    return Question(
        "02",
        f"W is zero and C is the identity. First the value {v} is inserted at the key k1 = "
        f"{tuple(a)}, then the value {w} at the key k2 = {tuple(b)}; values are single numbers. "
        "What is the memory's output at k1 in the end?",
        f"The second edit has to write {w} − {v} · ρ(1, 2) = {second:.3f}, and ρ(2, 1) of it "
        f"reaches k1. The output there is {v} + {second:.3f} · ρ(2, 1) = {left:.3f}.",
        (a, b, v, w),
        (left,),
    )


def arrives(draw: Random) -> Question:
    q, strength = draw.randint(1, 30), draw.randint(1, 30)
    return Question(
        "05",
        f"A single fact has q = kᵀC⁻¹k = {q}. It is written by MEMIT in one layer with λ = "
        f"{strength}. What fraction of its residual arrives?",
        f"q / (λ + q) = {q} / {strength + q} = {q / (strength + q):.3f}.",
        (q, strength),
        (q / (strength + q),),
    )


def strength_for(draw: Random) -> Question:
    q, wanted = draw.randint(2, 40), draw.choice([50, 60, 75, 80, 90, 95])
    strength = q * (100 - wanted) / wanted
    return Question(
        "05",
        f"A single fact has q = {q}, and {wanted}% of its residual should arrive in one layer. "
        "Which λ of MEMIT gives that?",
        f"From q / (λ + q) = {wanted / 100} follows λ = q (1 − {wanted / 100}) / {wanted / 100} = "
        f"{strength:.3f}.",
        (q, wanted / 100),
        (strength,),
    )


def spread(draw: Random) -> Question:
    layers, arriving = draw.randint(3, 5), draw.choice([60, 70, 80, 90]) / 100
    left, steps = 1.0, []
    for remaining in range(layers, 0, -1):
        left *= 1 - arriving / remaining
        steps.append(f"(1 − {arriving}/{remaining})")
    return Question(
        "05",
        f"A residual is spread over {layers} layers: each layer in turn has to write the part "
        "still missing, divided by the number of layers left, including its own. Of this part, "
        f"the fraction {arriving} arrives. What fraction of the residual is missing after the "
        "last layer?",
        f"{' · '.join(steps)} = {left:.3f}.",
        (layers, arriving),
        (left,),
    )


def null_part(draw: Random) -> Question:
    k = [draw.randint(1, 6) for _ in range(3)]
    c = [draw.randint(2, 9), draw.randint(1, 9) / 1000, draw.randint(10, 19) / 1000]
    inside, whole = k[1] ** 2 + k[2] ** 2, k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    return Question(
        "06",
        f"C is diagonal with the entries {tuple(c)}, and the threshold of AlphaEdit's null space "
        f"is 0.02. What fraction of the squared length of the key k = {tuple(k)} lies inside it?",
        "The second and the third entry of C are below the threshold, so the fraction is "
        f"({k[1]}² + {k[2]}²) / {whole} = {inside / whole:.3f}.",
        (k, c),
        (inside / whole,),
    )


def merged(draw: Random) -> Question:
    a, b = ([draw.randint(0, 9) for _ in range(n)] for n in (2, 3))
    m, o = sum(a) / 2, sum(b) / 3
    own = [sum((x - mean) ** 2 for x in xs) for xs, mean in ((a, m), (b, o))]
    S = sum(own) + (o - m) ** 2 * 6 / 5
    mean = (2 * m + 3 * o) / 5
    return Question(
        "10",
        "UltraEdit stores the count, mean, and sum of squared deviations S of all numbers so "
        f"far. It has seen the numbers {', '.join(map(str, a))}, and now it sees "
        f"{', '.join(map(str, b))}. What are the mean and S after the two are merged?",
        f"The means are {m:.3f} and {o:.3f}, and the sums are {own[0]:.3f} and {own[1]:.3f}. "
        f"Together the mean is {mean:.3f}, and S = {own[0]:.3f} + {own[1]:.3f} + "
        f"({o:.3f} − {m:.3f})² · 2 · 3 / 5 = {S:.3f}.",
        (a, b),
        (mean, S),
    )


def elected(draw: Random) -> Question:
    up = [draw.randint(4, 9) / 10 for _ in range(2)]
    down = [-draw.randint(1, 3) / 10 for _ in range(2)]
    given = draw.sample([*up, *down], 4)
    result = sum(up) / 2
    return Question(
        "12",
        f"Four side memories changed the same entry by {', '.join(map(str, given))}, and nothing "
        "is trimmed. Which change does TIES keep there?",
        "The sum is positive, so the sign + is elected, and the mean over the changes with that "
        f"sign is ({up[0]} + {up[1]}) / 2 = {result:.3f}.",
        (given,),
        (result,),
    )


def wilson(draw: Random) -> Question:
    n = draw.choice([10, 20, 25, 40, 50])
    hits = draw.randint(n // 2, n)
    p, z2 = hits / n, Z * Z
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Question(
        "15",
        f"{hits} of {n} edits succeed. Compute Wilson's 95% interval for the success rate (z = "
        f"{Z}).",
        f"The center (p + z²/2n) / (1 + z²/n) is {center:.3f} and half of the width is "
        f"{half:.3f}, so the interval goes from {100 * (center - half):.1f}% to "
        f"{100 * (center + half):.1f}%.",
        (hits, n),
        (center - half, center + half),
    )


def rounded(draw: Random) -> Question:
    bits, largest = draw.choice([3, 4, 8]), draw.randint(2, 9)
    n = 2 ** (bits - 1) - 1
    step = largest / n
    while True:
        small = draw.randint(1, 10 * largest - 1) / 10
        if abs(small / step % 1 - 0.5) > 0.01:  # halfway between two numbers, there is no nearest
            break
    kept = round(small / step) * step
    return Question(
        "18",
        f"A row of a matrix is stored with {bits} bits, so the whole numbers go from −{n} to {n}. "
        f"Its entry with the largest absolute value is {largest}. What does its entry {small} "
        "become?",
        f"The scale is {largest} / {n} = {step:.4f}. The entry is {small / step:.3f} of it, and "
        f"the nearest whole number gives {kept:.3f}.",
        (bits, largest, small),
        (kept,),
    )


KINDS: tuple[Callable[[Random], Question], ...] = (
    *(crosstalk, ridge, share, way_back, insert, two_edits, arrives, strength_for, spread),
    *(null_part, merged, elected, wilson, rounded),
)
