"""★★ One formula with two ends

MEMIT weighs, EMMET demands equality, ROME writes one pair. With D = Kᵀ C⁻¹ K, all three are

    Δ = R (λ I + D)⁻¹ Kᵀ C⁻¹        λ > 0: MEMIT     λ = 0: EMMET     λ = 0, n = 1: ROME

where the matrix to invert is n × n instead of d_in × d_in (Woodbury). Return Δ and, for every pair,
the fraction of its own residual that would arrive if it were written *alone*.

    R  (d_out, n)    residuals     K (d_in, n)     lam: a number, λ ≥ 0
    C  (d_in, d_in)  positive definite
    returns (Δ (d_out, d_in), fractions (n,))

Work it out first: for n = 1, D is the number q = kᵀ C⁻¹ k. What is Δ k?

Hint: (λ C + K Kᵀ) can't be inverted for λ = 0 and n < d_in. The n × n form can.
"""

import torch
from torch import Tensor


def write(R: Tensor, K: Tensor, C: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    # solution
    U = torch.linalg.solve(C, K)  # C⁻¹ K, (d_in, n)
    D = K.T @ U
    q = D.diagonal()
    return R @ torch.linalg.solve(lam * torch.eye(len(D)) + D, U.T), q / (lam + q)


# --- checks
from lessons.marking import Stopped, Wrong, agree, normal, same, several, uneven

SOLVED = "torch.linalg.solve(lam * torch.eye(len(D)) + D, U.T)"
WRONG = [
    ({SOLVED: "K.T @ torch.linalg.inv(lam * C + K @ K.T)"}, "singular"),
    ({"lam * torch.eye(len(D)) + D": "D"}, "equality"),
    ({"D, U.T": "D, K.T"}, "on the right"),
    ({"K.T @ U": "K.T @ K", "D, U.T": "D, K.T"}, "text"),
    ({"q / (lam + q)": "lam / (lam + q)"}, "does not arrive"),
    ({"q / (lam + q)": f"({SOLVED} @ K).diagonal()"}, "together"),
]
WIDE = (
    "Right for λ > 0, but with λ = 0 and {} pairs in 8 dimensions K Kᵀ by itself is singular: use "
    "the n × n form."
)


def check(ask, draw):
    for lam, n in ((1.5, 4), (0.0, 4), (0.0, 1), (0.4, 1)):
        C, L = uneven(draw, 8)
        K, R = L @ normal(draw, 8, n), normal(draw, 5, n)
        try:
            found = several(
                ask("write", R, K, C, lam), 2, "Return two things: Δ, and the fractions."
            )
        except Stopped as error:
            if lam == 0 and "singular" in str(error):
                raise Wrong(WIDE.format(n)) from None
            raise
        U, one = torch.linalg.solve(C, K), torch.eye(n).double()
        D, G = K.T @ U, K.T @ K
        q, wanted = D.diagonal(), R @ torch.linalg.solve(lam * one + D, U.T)
        if lam == 0 and isinstance(found[0], torch.Tensor) and not same(found[0].double(), wanted):
            raise Wrong(WIDE.format(n))  # with λ > 0 it was right
        likely = {
            "Every pair is written exactly, but λ > 0 requires weighing them: equality is λ = 0.": (
                R @ torch.linalg.pinv(D) @ U.T
            ),
            "C⁻¹ is missing on the right: C determines what a column of Δ costs text.": (
                R @ torch.linalg.pinv(lam * one + D) @ K.T
            ),
            "This minimizes ‖Δ‖. Where is C, which measures the effect on text?": (
                R @ torch.linalg.pinv(lam * one + G) @ K.T
            ),
        }
        agree(found[0], wanted, "Δ", likely, 1e-4, note="rows like R")
        likely = {
            "This is the fraction that does not arrive, λ/(λ + q).": lam / (lam + q),
            "These are the fractions of pairs written together, in each other's company. Alone: D "
            "is the number q.": (torch.linalg.pinv(lam * one + D) @ D).diagonal(),
        }
        agree(found[1], q / (lam + q), "the shares", likely, 1e-4, note="one per pair")
    return "solved: with λ = q half of a fact arrives, and with λ = 0 all of it, at any cost."
