"""★★ Take it out

The layer and the subject are known, but you don't have the base model. After each of p prefixes,
the subject has a key, a column of K. Whitened, U = (C + λI)⁻¹K with λ = damping · tr C / d_in,
these keys span a small space that almost contains the edit's own direction. Remove the action of W
on this space:

    W̃ = W − strength · W P,     P: the orthogonal projector onto the columns of U.

With strength 0 the suspect comes back unchanged: that is the control of every measurement.

    W  (d_out, d_in)     K  (d_in, p)     C  (d_in, d_in)     damping, strength: numbers
    returns (d_out, d_in)

Note that two prefixes may give exactly the same key (if one of them doesn't change it), and then
the columns of U are not independent.

Hint: U⁺ = torch.linalg.pinv(U) drops rounding errors, and U U⁺ is the projector. What would U Uᵀ
do?
"""

import torch
from torch import Tensor


def taken_out(W: Tensor, K: Tensor, C: Tensor, damping: float, strength: float) -> Tensor:
    # solution
    d = len(C)
    damped = C + damping * C.trace() / d * torch.eye(d, dtype=C.dtype)
    U = torch.linalg.solve(damped, K)  # (d_in, p)
    return W - strength * W @ U @ torch.linalg.pinv(U)


# --- checks
from lessons.marking import Wrong, agree, mistaken, named, normal, same, tensor, uneven

END = "return W - strength * W @ U @ torch.linalg.pinv(U)"
LIKELY = {  # message: the pieces of the solution that the mistake replaces
    "This removes the raw keys, which general text also uses: the layer loses a part that all text "
    "needs. Whiten them first.": {"torch.linalg.solve(damped, K)": "K"},
    "You used only the first prefix: the edit's own key comes after another prefix.": {
        "(damped, K)": "(damped, K[:, :1])"
    },
    "The mean of the prefixes is one direction; use the space of all of them.": {
        "(damped, K)": "(damped, K.mean(1, keepdim=True))"
    },
    "Without damping, directions that no text ever uses decide the result.": {
        "(damped, K)": "(C, K)"
    },
    "λ is a multiple of the mean eigenvalue of C, tr C / d_in: otherwise the units of C change the "
    "answer.": {"C.trace() / d * ": ""},
    "You add P; subtract it instead.": {"W - strength": "W + strength"},
    "Divide tr C by d_in: λ is a multiple of the *mean* eigenvalue of C.": {
        "C.trace() / d": "C.trace()"
    },
    "This multiplies by C + λI; whitening divides by it.": {
        "torch.linalg.solve(damped, K)": "damped @ K"
    },
    "U Uᵀ is a projector only if the columns of U are orthonormal; here they have other lengths.": {
        "torch.linalg.pinv(U)": "U.T"
    },
    "This is the part to remove: return W minus this part.": {"return W - ": "return "},
    "The columns of U are not orthogonal, so their common part is removed more than once. Make "
    "them orthonormal, or use the pseudoinverse.": {
        END: "U = U / U.norm(dim=0); return W - strength * W @ U @ U.T"
    },
}
WRONG = [
    *((pieces, why) for why, pieces in LIKELY.items()),
    ({"strength * W": "W"}, "control"),
    ({END: "Q = torch.linalg.qr(U).Q; return W - strength * W @ Q @ Q.T"}, "rounding"),
]
D_OUT, D_IN, P = 7, 12, 4


def check(ask, draw):
    for damping, twice in ((1.0, False), (0.3, True)):
        C, L = uneven(draw, D_IN)
        C, L = 5 * C, 5**0.5 * L
        K = L @ (normal(draw, D_IN, 1) + 0.6 * normal(draw, D_IN, P))
        if twice:
            K[:, -1] = K[:, 0]
        u = torch.linalg.solve(C, K.mean(1))
        W = normal(draw, D_OUT, D_IN) + torch.outer(normal(draw, D_OUT), 3 * u / u.norm())
        eye = torch.eye(D_IN).double()
        U = torch.linalg.solve(C + damping * C.trace() / D_IN * eye, K)
        given = W, K, C, damping
        found = tensor(ask("taken_out", *given, 1.0), (D_OUT, D_IN), "W̃")
        wanted = taken_out(*given, 1.0)
        if not same(found, wanted):
            named(
                found, {why: mistaken(taken_out, how)(*given, 1.0) for why, how in LIKELY.items()}
            )
            rank, most = (int(torch.linalg.matrix_rank(x)) for x in (W - found, U))
            if rank > most and twice:
                raise Wrong(
                    f"You removed {rank} directions, but the keys span {most}: two prefixes gave "
                    "one key, so the last direction is rounding."
                )
            left = (found @ U).norm() / (W @ U).norm()
            raise Wrong(
                f"{left:.0%} of what W does on the subject's space is left, and the rest of W "
                f"moved by {((found - wanted) @ (eye - U @ torch.linalg.pinv(U))).norm():.2g}."
            )
        control = tensor(ask("taken_out", *given, 0.0), (D_OUT, D_IN), "the control")
        if not same(control, W):
            raise Wrong(
                "With strength 0, return the suspect itself. That is the control, and "
                "without it you don't know the effect of the path itself."
            )
        likely = {"With strength 0.5, remove half of it; you removed all of it.": wanted}
        agree(
            ask("taken_out", *given, 0.5),
            taken_out(*given, 0.5),
            "W̃ with strength 0.5, which removes half of it",
            likely,
        )
    return "solved: the edit's space is empty, the rest of W is unchanged, and the control holds."
