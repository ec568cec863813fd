"""★★ A codebook that takes no more than it must

GRACE's list: keys, each with a radius ε and an answer. The published split rule can make a small
ball *larger*. Write the rules with that repaired:

    lookup    the nearest key i, and then its own radius: its answer if d ≤ ε_i, otherwise None
    write     with d the distance to the nearest key i, and i's radius before anything changes,
              no key, or d > ε_i + ε_init     add: a new entry with ε = ε_init
              else, same answer               ε_i grows to d where d is larger; no new entry
              else, d = 0                     the newest fact wins: entry i gets the new answer
              else                            split: a new entry with ε = min(ε_init, d/2), and
                                              ε_i becomes min(ε_i, d/2)

    K  (d, n)     keys as columns; n may be 0      eps (n,)      labels: list of n strings
    q  (d,)       the query                        label: a string
    lookup: returns a string, or None
    write: returns [K, eps, labels], the new ones; a new entry comes last

Hint: torch.cat([K, q[:, None]], 1) adds a column. Two balls may overlap; who answers there?
"""

import torch
from torch import Tensor


def lookup(K: Tensor, eps: Tensor, labels: list, q: Tensor) -> str | None:
    # solution
    if not labels:
        return None
    d, i = (K - q[:, None]).norm(dim=0).min(0)
    return labels[int(i)] if d <= eps[i] else None


def write(K: Tensor, eps: Tensor, labels: list, q: Tensor, label: str, eps_init: float) -> list:
    # solution
    eps, labels, radius = eps.clone(), list(labels), eps_init
    if labels:
        d, i = (K - q[:, None]).norm(dim=0).min(0)
        if d <= eps[i] + eps_init:
            if labels[int(i)] == label or d == 0:
                labels[int(i)] = label
                eps[i] = torch.maximum(eps[i], d)
                return [K, eps, labels]
            radius = min(eps_init, d.item() / 2)
            eps[i] = torch.minimum(eps[i], d / 2)
    K = torch.cat([K, q[:, None]], 1)
    return [K, torch.cat([eps, torch.tensor([radius], dtype=eps.dtype)]), labels + [label]]


# --- checks
from lessons.marking import Stopped, Wrong, normal, same, short, tensor

BODY = (
    "eps, labels, radius = eps.clone(), list(labels), eps_init\n"
    "if labels:\n    d, i = (K - q[:, None]).norm(dim=0).min(0)\n"
    "    if d <= {reach}:\n        if labels[int(i)] == label or d == 0:\n"
    "            labels[int(i)] = label\n            eps[i] = {grow}\n"
    "            return [K, eps, labels]\n"
    "        radius = {new}\n        eps[i] = {old}\n"
    "K = torch.cat([K, q[:, None]], 1)\n"
    "return [K, torch.cat([eps, torch.tensor([radius], dtype=eps.dtype)]), labels + [label]]"
)
GOOD = {
    "reach": "eps[i] + eps_init",
    "grow": "torch.maximum(eps[i], d)",
    "new": "min(eps_init, d.item() / 2)",
    "old": "torch.minimum(eps[i], d / 2)",
}
WRONG = [
    (
        {
            "lookup": "for i, label in enumerate(labels):\n"
            "    if (K[:, i] - q).norm() <= eps[i]:\n        return label\nreturn None"
        },
        "nearest",
    ),
    (
        {
            "lookup": "if not labels:\n    return None\n"
            "return labels[int((K - q[:, None]).norm(dim=0).argmin())]"
        },
        "nobody",
    ),
    (
        {
            "lookup": "d, i = (K - q[:, None]).norm(dim=0).min(0)\n"
            "return labels[int(i)] if d <= eps[i] else None"
        },
        "empty codebook",
    ),
    ({"write": BODY.format(**GOOD | {"old": "d / 2"})}, "enlarges"),
    ({"write": BODY.format(**GOOD | {"reach": "eps[i]"})}, "touch"),
    ({"write": BODY.format(**GOOD | {"grow": "d"})}, "shrinks"),
    ({"write": BODY.format(**GOOD | {"new": "eps_init"})}, "new ball"),
]
STEPS = [  # along one line: where, answer, what is to happen; ε_init = 1
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
    "add": "{q} is farther than ε_i + ε_init from key {k}: a new entry with ε_init",
    "covered": "{q} is inside ball {k} and has its answer: nothing changes (a ball never shrinks)",
    "expand": "{q} is outside ball {k}, but the balls touch, and the answer is the same: ε grows "
    "to {d}, without a new entry",
    "split": "{q} touches ball {k} and says something else: split",
    "replace": "{q} is key {k} itself, with another answer: the newest fact wins",
}


def check(ask, draw):
    d = 3
    along = normal(draw, d)
    along, shift = along / along.norm(), normal(draw, d)
    K, eps, labels = torch.zeros(d, 0).double(), torch.zeros(0).double(), []
    for at, label, kind in STEPS:
        q = shift + at * along
        found = ask("write", K, eps, labels, q, label, 1.0)
        if not isinstance(found, list) or len(found) != 3 or not isinstance(found[2], list):
            raise Wrong("write: return three things, keys, radii, and a list of labels.")
        near = (K - q[:, None]).norm(dim=0).min(0) if labels else None
        told, before = "", eps
        if near is not None:
            i, far = int(near.indices), near.values.item()
            names = {"q": f"the fact at {at}", "k": f"{(along @ (K[:, i] - shift)).item():.3g}"}
            told = TOLD[kind].format(**names, d=f"{far:.3g}")
        wanted = write(K, eps, labels, q, label, 1.0)
        theirs = [list(map(str, found[2])), len(found[1])]
        if theirs[0] != wanted[2] or theirs[1] != len(wanted[1]):
            raise Wrong(
                f"write: {told or 'the first fact is added'}; labels are {short(found[2])}."
            )
        keys = tensor(found[0], tuple(wanted[0].shape), "write: keys")
        radii = tensor(found[1], tuple(wanted[1].shape), "write: radii")
        if not same(keys, wanted[0]):
            raise Wrong(f"write: {told}; a key is not where its fact is.")
        if not same(radii, wanted[1], 1e-6):
            if kind == "split" and radii[i] > before[i] + 1e-9:
                raise Wrong(f"write: {told}. Here the split enlarges ball {names['k']}.")
            if kind == "split" and not same(radii[-1:], wanted[1][-1:], 1e-6):
                raise Wrong(f"write: {told}. The new ball has ε = {radii[-1]:.3g}: at most d/2.")
            if kind == "covered":
                raise Wrong(f"write: {told}: here it shrinks to {radii[i]:.3g}.")
            raise Wrong(f"write: {told}; radii are {[round(r, 3) for r in radii.tolist()]}.")
        K, eps, labels = wanted
    K = torch.stack([shift, shift + 4 * along], 1)
    eps, labels = torch.tensor([3.0, 0.5]).double(), ["A", "B"]
    for at, answer in ((2.9, None), (3.6, "B"), (1.9, "A"), (-3.5, None), (4.6, None)):
        found = ask("lookup", K, eps, labels, shift + at * along)
        if found == answer:
            continue
        where = f"keys at 0 (ε = 3, A) and at 4 (ε = 0.5, B), asked at {at}"
        if answer is None and at == 2.9 and found == "A":
            raise Wrong(
                f"lookup: {where}: the nearest key is B's, and its ball does not reach: "
                "the nearest decides, not any ball."
            )
        raise Wrong(f"lookup: {where}: {answer or 'nobody'} answers, not {short(found)}.")
    try:
        found = ask("lookup", K[:, :0], eps[:0], [], shift)
    except (IndexError, RuntimeError, Stopped) as error:
        raise Wrong(f"lookup: in an empty codebook nobody answers; here: {error}") from None
    if found is not None:
        raise Wrong("lookup: in an empty codebook nobody answers.")
    return "solved: a split takes half of the distance, and never more."
