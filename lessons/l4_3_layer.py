"""★★★ WilKE, in two steps

For every layer, WilKE computes how large the change would be there, relative to the layer's matrix,
and writes the fact in the layer with the smallest value:

    s_l = ‖Δ_l‖ / ‖W_l‖,     Δ = δ uᵀ / q,  u = C⁻¹ k,  q = kᵀ u    (all of layer l)

Write the length of one change, then the whole method:

    size    ‖Δ‖ of one layer, from its δ, k and C. ‖·‖ is the root of the sum of all squared entries
    wilke   writes facts one after another. search(fact, Ws) returns two lists, the fact's keys k
            and the wanted values v*, one per layer of a model with the matrices Ws. Compute the
            residual δ = v* − W k in each, choose the layer, add Δ to its matrix; then continue with
            the next fact, on the current model. Returns the new matrices, and the layer of each
            fact. It may call size

    Ws  list of (d_out, d_in)        delta  (d_out,), the residual of one layer
    k   (d_in,)                      C      (d_in, d_in), and Cs a list of them
    size returns a number, wilke two lists: (d_out, d_in) each, whole numbers

Hint: ‖a bᵀ‖ = ‖a‖ ‖b‖, so you don't need Δ for a score. Which Ws does the second fact meet?
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def size(delta: Tensor, k: Tensor, C: Tensor) -> Tensor:
    # solution
    u = torch.linalg.solve(C, k)
    return delta.norm() * u.norm() / (k @ u)


def wilke(
    search: Callable, facts: Sequence, Ws: list[Tensor], Cs: list[Tensor]
) -> tuple[list[Tensor], list[int]]:
    # solution
    Ws, chosen = list(Ws), []
    for fact in facts:
        ks, values = search(fact, Ws)
        deltas = [v - W @ k for v, W, k in zip(values, Ws, ks, strict=True)]
        sizes = [size(delta, k, C) for delta, k, C in zip(deltas, ks, Cs, strict=True)]
        scores = torch.stack([one / W.norm() for one, W in zip(sizes, Ws, strict=True)])
        best = scores.argmin().item()
        u = torch.linalg.solve(Cs[best], ks[best])
        Ws[best] = Ws[best] + torch.outer(deltas[best], u) / (ks[best] @ u)
        chosen.append(best)
    return Ws, chosen


# --- checks
from lessons.marking import (
    Wrong,
    agree,
    mistaken,
    named,
    normal,
    number,
    several,
    short,
    tensor,
    uneven,
)

SCORES = {  # message: the piece of `wilke` that the mistake replaces
    "The change is not measured relative to W: divide by ‖W‖ of the same layer.": {
        " / W.norm()": ""
    },
    "‖W‖ is the root of all squared entries here, not the largest singular value.": {
        "W.norm()": "torch.linalg.norm(W, 2)"
    },
    "This chooses the largest score; choose the smallest.": {"argmin": "argmax"},
}
WRONG = [
    ({"delta.norm() * u.norm() / (k @ u)": "delta.norm() / (k @ u).sqrt()"}, "harm"),
    ({"size": "return delta.norm() / k.norm()"}, "bound"),
    ({"delta.norm() * u": "u"}, "δ is missing"),
    ({"u.norm() / (k @ u)": "u.norm()"}, "q is missing"),
    *((pieces, why) for why, pieces in SCORES.items()),
    ({"chosen = list(Ws), []": "chosen, first = list(Ws), [], Ws", ", Ws)\n": ", first)\n"},
     "as it was before"),
    ({"torch.outer(deltas": "torch.outer(values"}, "missing at the key"),
]  # fmt: skip


def check(ask, draw):
    Cs, Ls = zip(*(uneven(draw, 7) for _ in range(4)), strict=True)
    Ws, Cs = [(1 + layer) * normal(draw, 4, 7) for layer in range(4)], list(Cs)
    keys = [[L @ normal(draw, 7) for L in Ls] for _ in range(6)]  # of six facts in four layers
    values = [
        [W @ k + (1 + i) * normal(draw, 4) for i, (W, k) in enumerate(zip(Ws, ks, strict=True))]
        for ks in keys
    ]

    def search(fact, now):  # a key grows with its matrix, and so changes when the matrix is edited
        return [k * (1 + W.norm() / 20) for k, W in zip(keys[fact], now, strict=True)], values[fact]

    ks, found = search(0, Ws)
    deltas = [v - W @ k for v, W, k in zip(found, Ws, ks, strict=True)]
    each = zip(Ws, ks, deltas, Cs, strict=True)
    relative = torch.stack([size(delta, k, C) / W.norm() for W, k, delta, C in each])
    delta, k, C = deltas[0], ks[0], Cs[0]
    u, w = torch.linalg.solve(C, k), C @ k
    wanted, q = delta.norm() * u.norm() / (k @ u), k @ u
    likely = {
        "This multiplies by C: u is C⁻¹ k, not C k.": delta.norm() * w.norm() / (k @ w),
        "q is missing: Δ = δ uᵀ / q.": wanted * q,
        "This is divided by ‖k‖ instead of q = kᵀ u.": wanted * q / k.norm(),
        "This is divided by ‖k‖² instead of q = kᵀ u.": wanted * q / (k @ k),
        "δ is missing: ‖Δ‖ = ‖δ‖ ‖u‖ / q.": wanted / delta.norm(),
        "This is the square of ‖Δ‖; take the root.": wanted**2,
        "‖δ‖ / √q is the harm to text, the root of the insert's price. WilKE measures the weights "
        "(and notebook 08 asks whether that is wise).": delta.norm() / q.sqrt(),
        "‖δ‖ / ‖k‖ is the lower bound: it is reached only if C⁻¹ k points along k.": (
            delta.norm() / k.norm()
        ),
    }
    agree(ask("size", delta, k, C), wanted, "size", likely, note="one number", told=True)
    best = relative.argmin().item()
    u, k, delta = torch.linalg.solve(Cs[best], ks[best]), ks[best], deltas[best]

    def instead(matrix):  # all matrices after the first fact, with this matrix in the chosen layer
        return torch.stack([*Ws[:best], matrix, *Ws[best + 1 :]])

    slips = {
        "You add v* itself instead of the part missing at the key, v* − W k.": instead(
            Ws[best] + torch.outer(values[0][best], u) / (k @ u)
        ),
        "Δ replaces the matrix: add it to W.": (instead(torch.outer(delta, u) / (k @ u))),
        "Δ contains k instead of u = C⁻¹ k.": instead(Ws[best] + torch.outer(delta, k) / (k @ k)),
        "q is missing: Δ = δ uᵀ / q.": instead(Ws[best] + torch.outer(delta, u)),
        "These are the original matrices: add Δ to the matrix of the chosen layer.": torch.stack(
            Ws
        ),
    }
    for facts in ([0], list(range(6))):
        found = several(
            ask("wilke", search, facts, Ws, Cs),
            2,
            "wilke: return two things, the list of the new matrices and the list of the layers.",
        )
        several(found[0], 4, "wilke: return all 4 matrices, including those without a new fact.")
        wanted, layers = wilke(search, facts, Ws, Cs)
        told = f"wilke: {len(facts)} facts were written, so return a list of as many layers."
        chosen = [number(one, "wilke: a layer") for one in several(found[1], len(facts), told)]
        told = f"wilke: the facts went into the layers {short(found[1])}, not {layers}"
        new = torch.stack([tensor(W, (4, 7), "wilke: a matrix") for W in found[0]])
        before, _ = wilke(lambda fact, _: search(fact, Ws), facts, Ws, Cs)
        likely = slips | {
            "You search each fact on the model as it was before the first fact: pass the current "
            "matrices to search(fact, Ws).": torch.stack(before)
        }
        wanted = torch.stack(wanted)
        if chosen != layers:
            other = {
                "The matrices are right: also return the chosen layer, counted from 0.": wanted
            }
            if len(facts) > 1:  # for a single fact, two of these may choose the same layer
                other |= {
                    why: torch.stack(mistaken(wilke, how)(search, facts, Ws, Cs)[0])
                    for why, how in SCORES.items()
                }
            named(new, {f"{told}. {why}": one for why, one in (other | likely).items()})
            if len(facts) == 1:
                continue
            raise Wrong(f"{told}: choose the smallest score, for the model at that time.")
        after = f"wilke, the matrices after fact {len(facts)}"
        agree(new, wanted, after, likely, note="layer, row, column", told=True)
    return f"solved: six facts went into the layers {', '.join(map(str, layers))}."
