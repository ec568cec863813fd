"""★★ Which layer fits the fact?

WilKE asks every layer how large the change would be there, relative to the layer's matrix, and
takes the smallest:

    s_l = ‖Δ_l‖ / ‖W_l‖,     Δ = δ uᵀ / q,  u = C⁻¹ k,  q = kᵀ u    (all of layer l)

Return the scores of all layers. ‖·‖ is the root of the sum of all squared entries.

    Ws  list of (d_out, d_in)        deltas  list of (d_out,), the residual of each layer
    ks  list of (d_in,)              Cs      list of (d_in, d_in)
    returns (layers,)

Hint: ‖a bᵀ‖ = ‖a‖ ‖b‖, so no Δ has to be formed.
"""

import torch
from torch import Tensor


def scores(Ws: list[Tensor], ks: list[Tensor], deltas: list[Tensor], Cs: list[Tensor]) -> Tensor:
    found = []
    for W, k, delta, C in zip(Ws, ks, deltas, Cs, strict=True):
        # solution
        u = torch.linalg.solve(C, k)
        found.append(delta.norm() * u.norm() / (k @ u) / W.norm())
        # end
    return torch.stack(found)


# --- checks
from lessons.marking import agree, normal, tensor, uneven

U = "u = torch.linalg.solve(C, k)\n"
WRONG = [
    (U + "found.append(delta.norm() * u.norm() / (k @ u))", "relative"),
    (U + "found.append(delta.norm() / (k @ u).sqrt() / W.norm())", "harm"),
    ("found.append(delta.norm() / k.norm() / W.norm())", "bound"),
    (U + "found.append(delta.norm() * u.norm() / (k @ u) / torch.linalg.norm(W, 2))", "singular"),
]


def check(ask, draw):
    given, rows = [], []
    for layer in range(5):
        C, L = uneven(draw, 7)
        W = (1 + layer) * normal(draw, 4, 7)
        k, delta = L @ normal(draw, 7), 2 * normal(draw, 4)
        u = torch.linalg.solve(C, k)
        size, q = delta.norm() * u.norm() / (k @ u), k @ u
        times = delta.norm() * (C @ k).norm() / (k @ C @ k) / W.norm(), size * q / W.norm()
        others = [
            *times,
            size / W.norm() / delta.norm(),
            (size / W.norm()) ** 2,
            size,
            delta.norm() / q.sqrt() / W.norm(),
            delta.norm() / k.norm() / W.norm(),
        ]
        rows.append(torch.stack([size / W.norm(), *others, size / torch.linalg.norm(W, 2)]))
        given.append((W, k, delta, C))
    given = [list(every) for every in zip(*given, strict=True)]
    found = tensor(ask("scores", *given), (5,), "the scores", "one per layer")
    wanted, turned, whole, bare, square, size, harm, bound, spectral = torch.stack(rows, 1)
    likely = {
        "This multiplies with C: u is C⁻¹ k, not C k.": turned,
        "q is missing: Δ = δ uᵀ / q.": whole,
        "δ is missing: ‖Δ‖ = ‖δ‖ ‖u‖ / q.": bare,
        "These are squares; take the root.": square,
        "The change is not taken relative to W: large layers look bad just for being large.": size,
        "‖δ‖ / √q is the harm that text hears, the root of the insert's price. WilKE measures the "
        "weights (and notebook 08 asks whether that is wise).": harm,
        "‖δ‖ / ‖k‖ is the lower bound: it is reached only where C⁻¹ k points along k.": bound,
        "‖W‖ is the root of all squared entries here, not the largest singular value.": spectral,
    }
    agree(found, wanted, "the scores", likely)
    return f"solved: layer {wanted.argmin().item()} needs the smallest change."
