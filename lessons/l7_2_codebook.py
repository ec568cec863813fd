"""★★ A codebook that takes no more than it must

GRACE stores a list of keys, each with a radius ε and an answer. The published split rule can make a
small ball *larger*. Write the rules with that repaired, in four steps that build on each other:

    nearest   the distance of q to the nearest key, and the number of that key
    lookup    the answer of the nearest key i if q is in its own ball, d ≤ ε_i, otherwise None
    rule      the two radii after a fact arrives at distance d from the nearest key i, whose radius
              is ε_i: [the radius of i, the radius of a new entry, or None if there isn't one]
              d > ε_i + ε_init         add: ε_i stays, and the new entry has ε_init
              else, the same answer    expand: ε_i grows to d where d is larger; no new entry
              else, d = 0              the newest fact wins: ε_i stays; no new entry
              else                     split: min(ε_i, d/2) and min(ε_init, d/2)
    write     the codebook after one more fact. The first fact is added with ε_init; without a new
              entry, entry i gets the fact's answer

    K  (d, n)     keys as columns; n may be 0      eps (n,)      labels: list of n strings
    q  (d,)       the query                        label: a string
    nearest: returns (a number, a whole number), for n > 0
    lookup: returns a string, or None
    rule: returns a list of two
    write: returns [K, eps, labels], a new entry last

Hint: torch.cat([K, q[:, None]], 1) adds a column. Two balls may overlap; which key answers there?
"""

import torch
from torch import Tensor


def nearest(K: Tensor, q: Tensor) -> tuple[float, int]:
    # solution
    d, i = (K - q[:, None]).norm(dim=0).min(0)
    return d.item(), int(i)


def lookup(K: Tensor, eps: Tensor, labels: list, q: Tensor) -> str | None:
    # solution
    if not labels:
        return None
    d, i = nearest(K, q)
    return labels[i] if d <= eps[i] else None


def rule(d: float, radius: float, same: bool, eps_init: float) -> list:
    # solution
    if d > radius + eps_init:
        return [radius, eps_init]
    if same or d == 0:
        return [max(radius, d), None]
    return [min(radius, d / 2), min(eps_init, d / 2)]


def write(K: Tensor, eps: Tensor, labels: list, q: Tensor, label: str, eps_init: float) -> list:
    # solution
    eps, labels, radius = eps.clone(), list(labels), eps_init
    if labels:
        d, i = nearest(K, q)
        eps[i], radius = rule(d, eps[i].item(), labels[i] == label, eps_init)
        if radius is None:
            labels[i] = label
            return [K, eps, labels]
    K = torch.cat([K, q[:, None]], 1)
    return [K, torch.cat([eps, torch.tensor([radius], dtype=eps.dtype)]), labels + [label]]


# --- checks
from lessons.marking import Stopped, Wrong, agree, normal, number, same, several, short, tensor

WRONG = [
    ({"norm(dim=0)": "square().sum(0)"}, "root"),
    ({".min(0)": ".max(0)"}, "column"),
    (
        {
            "lookup": "for i, label in enumerate(labels):\n"
            "    if (K[:, i] - q).norm() <= eps[i]:\n        return label\nreturn None"
        },
        "nearest",
    ),
    ({" if d <= eps[i] else None": ""}, "no key answers"),
    ({"if not labels:\n    return None\n": ""}, "empty codebook"),
    ({"[min(radius, d / 2)": "[d / 2"}, "enlarges"),
    ({"d > radius + eps_init": "d > radius"}, "touch"),
    ({"max(radius, d)": "d"}, "shrinks"),
    ({"min(eps_init, d / 2)": "eps_init"}, "new ball"),
    ({"labels[i] = label": "pass"}, "newest"),
    ({"tensor([radius]": "tensor([eps_init]"}, "radii"),
]
CASES = [  # d, the radius of the nearest ball, whether it has the same answer, what should happen
    (2.5, 1.0, True, "add"),
    (0.4, 1.0, True, "covered"),
    (1.6, 1.0, True, "expand"),
    (1.6, 1.0, False, "split"),
    (1.1, 0.15, False, "split"),
    (1.9, 1.5, False, "split"),
    (2.4, 2.0, False, "split"),
    (0.0, 0.5, False, "replace"),
]
STEPS = [  # along one line: where, answer, what should happen; ε_init = 1
    (0.0, "A", "add"),
    (0.4, "A", "covered"),
    (1.6, "A", "expand"),
    (9.0, "C", "add"),
    (9.3, "D", "split"),
    (10.4, "C", "split"),
    (2.4, "B", "split"),
    (2.4, "A", "replace"),
]
TOLD = {
    "add": "the balls do not touch: a new entry with ε_init, and nothing else changes",
    "covered": "inside the nearest ball, which has its answer: nothing changes (no ball shrinks)",
    "expand": "outside the nearest ball, but the balls touch, and the answer is the same: ε_i "
    "grows to d, without a new entry",
    "split": "the balls touch, and the answers differ: each gets d/2, or keeps its radius if that "
    "is smaller (a new ball has ε_init)",
    "replace": "this is exactly a key, with another answer: the newest fact wins",
}


def check(ask, draw):
    for n in (1, 5):
        K, q = normal(draw, 3, n), normal(draw, 3)
        found, (d, i) = ask("nearest", K, q), nearest(K, q)
        several(found, 2, "nearest: return two things, a distance and the number of the key.")
        if found[1] != i:
            raise Wrong(f"nearest: column {i} is the nearest, at {d:.3g}, not {short(found)}.")
        likely = {"nearest: this is the square of the distance: the root is missing.": d * d}
        agree(number(found[0], "nearest: the distance"), d, "nearest: the distance", likely)
    for d, radius, agrees, kind in CASES:
        found, wanted = ask("rule", d, radius, agrees, 1.0), rule(d, radius, agrees, 1.0)
        several(found, 2, "rule: return a list of two: the old ball's radius, and the new one's.")
        whose = "the same" if agrees else "another"
        told = f"rule: d = {d}, ε_i = {radius}, ε_init = 1, {whose} answer: {TOLD[kind]}"
        if (found[1] is None) != (wanted[1] is None):
            raise Wrong(f"{told}; you returned {short(found)}.")
        old, new = number(found[0], "rule: ε_i"), number(found[1] or 0.0, "rule: the new ball's ε")
        if abs(new - (wanted[1] or 0.0)) > 1e-6:
            raise Wrong(f"{told}. The new ball has ε = {new:.3g}, not {wanted[1]:.3g}.")
        if abs(old - wanted[0]) > 1e-6:
            does = "enlarges" if old > wanted[0] else "shrinks"
            raise Wrong(f"{told}. Here it {does} ball i, from {radius} to {old:.3g}.")
    d = 3
    along = normal(draw, d)
    along, shift = along / along.norm(), normal(draw, d)
    K, eps, labels = torch.zeros(d, 0).double(), torch.zeros(0).double(), []
    for at, label, kind in STEPS:
        q = shift + at * along
        found = several(
            ask("write", K, eps, labels, q, label, 1.0), 3, "write: return keys, radii, and labels."
        )
        told = f"write: the fact at {at}: {TOLD[kind]}"
        wanted = write(K, eps, labels, q, label, 1.0)
        if found[2] != wanted[2]:
            raise Wrong(f"{told}; labels are {short(found[2])}, not {wanted[2]}.")
        keys = tensor(found[0], tuple(wanted[0].shape), "write: keys")
        radii = tensor(found[1], tuple(wanted[1].shape), "write: radii")
        if not same(keys, wanted[0]):
            raise Wrong(f"{told}; a key is not where its fact is.")
        if not same(radii, wanted[1], 1e-6):
            raise Wrong(
                f"{told}; radii {radii.numpy().round(3)}, not {wanted[1].numpy().round(3)}."
            )
        K, eps, labels = wanted
    K = torch.stack([shift, shift + 4 * along], 1)
    eps, labels = torch.tensor([3.0, 0.5]).double(), ["A", "B"]
    for at, answer in ((2.9, None), (3.6, "B"), (1.9, "A"), (-3.5, None), (4.6, None)):
        found = ask("lookup", K, eps, labels, shift + at * along)
        if found == answer:
            continue
        where = f"keys at 0 (ε = 3, A) and at 4 (ε = 0.5, B), query at {at}"
        if answer is None and at == 2.9 and found == "A":
            raise Wrong(
                f"lookup: {where}: the nearest key is B's, and q is outside its ball: the nearest "
                "decides, not any ball."
            )
        raise Wrong(f"lookup: {where}: {answer or 'no key'} answers, not {short(found)}.")
    try:
        found = ask("lookup", K[:, :0], eps[:0], [], shift)
    except (IndexError, RuntimeError, Stopped) as error:
        raise Wrong(f"lookup: an empty codebook should return None; here: {error}") from None
    if found is not None:
        raise Wrong("lookup: an empty codebook should return None.")
    return "solved: a split uses half of the distance, and never more."
