"""★★★ One system, many workers

MEMIT writes a batch of facts using Δ = R Kᵀ (λ I + K Kᵀ)⁻¹. The keys K and residuals R are spread
over workers: worker i has some columns, K_i and R_i. Return the Δ for all facts.

    parts      list of pairs (K_i (d_in, n_i), R_i (d_out, n_i))
    strength   λ
    returns (d_out, d_in)    Δ

Which data would the workers have to send each other, and does its size depend on the number of
facts?
"""

import torch
from torch import Tensor


def merged(parts: list, strength: float) -> Tensor:
    # solution
    G = sum(k @ k.T for k, _ in parts)
    M = sum(r @ k.T for k, r in parts)
    return torch.linalg.solve(G + strength * torch.eye(len(G)).to(G), M.T).T


# --- checks
from lessons.marking import agree, normal

ONE = "torch.linalg.solve(k @ k.T + strength * torch.eye(len(k)).to(k), (r @ k.T).T).T"
WRONG = [
    ({"M.T).T": "M.T)"}, "transposed"),
    (f"return sum({ONE} for k, r in parts)", "can't be added"),
    (f"return sum({ONE} for k, r in parts) / len(parts)", "mean of solutions"),
    ({"strength *": "len(parts) * strength *"}, "counts once"),
    (
        {"solve(G + strength * torch.eye(len(G)).to(G), M.T)": "lstsq(G, M.T).solution"},
        "λ is missing",
    ),
]


def check(ask, draw):
    for sizes in ((2, 3, 4), (9, 4), (5, 6, 7, 8)):
        parts = [(normal(draw, 7, n), normal(draw, 3, n)) for n in sizes]
        K, R = (torch.cat(side, 1) for side in zip(*parts, strict=True))
        G, M = K @ K.T, R @ K.T
        alone = torch.stack([merged([part], 0.5) for part in parts])
        likely = {
            "Solutions can't be added up, but the sums can.": alone.sum(0),
            "This is a mean of solutions, each of which has seen only its own facts.": alone.mean(
                0
            ),
            "λ counts once: was it added by every worker?": merged(parts, 0.5 * len(parts)),
            "λ is added to every entry; λ I has it only on the diagonal.": (
                torch.linalg.solve(G + 0.5, M.T).T
            ),
            "You multiply by (K Kᵀ + λ I); divide by it instead.": (
                M @ (G + 0.5 * torch.eye(7).double())
            ),
            "This is the sum R Kᵀ; no equations have been solved.": M,
            "This is the first worker's Δ: the others also have facts.": alone[0],
            "R Kᵀ is a sum over all workers, but this is their mean.": (
                merged(parts, 0.5) / len(parts)
            ),
            "λ is missing.": torch.linalg.lstsq(G, M.T).solution.T,
        }
        agree(ask("merged", parts, 0.5), merged(parts, 0.5), "Δ", likely, note="d_out, d_in")
    return "solved: workers send two sums, regardless of the number of facts."
