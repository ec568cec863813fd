"""A linear layer as an associative memory: W k = v, in closed form (torch only).

Keys are columns: K (d_in, n), V (d_out, n). C (d_in, d_in) is the second moment E[k kᵀ] of the keys
that shall not move. Every function computes in the type it is given; use float64 where it matters.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fit(K: Tensor, V: Tensor) -> Tensor:
    """W (d_out, d_in) that minimizes ‖W K − V‖²_F, the shortest one where K does not fix it.

    Setting the gradient to zero gives the normal equations W K Kᵀ = V Kᵀ.
    K = [[1, 0], [0, 2]], V = [[3, 4]] -> W = [[3, 2]].
    """
    # W = V Kᵀ (K Kᵀ)⁻¹, by a rank-revealing least squares so that K K ᵀ may be singular
    return torch.linalg.lstsq(K.T.cpu(), V.T.cpu(), driver="gelsd").solution.T.to(K.device)


def ridge(K: Tensor, V: Tensor, strength: float) -> Tensor:
    """W (d_out, d_in) that minimizes ‖W K − V‖²_F + strength·‖W‖²_F: recall of noisy keys.

    Solved in the smaller of its two forms, d_in or n. K = [[1], [0]], V = [[2]], strength 1
    -> W = [[1, 0]].
    """
    d, n = K.shape
    if n < d:  # V (KᵀK + λI)⁻¹ Kᵀ
        small = K.T @ K + strength * torch.eye(n, dtype=K.dtype, device=K.device)
        return torch.linalg.solve(small, V.T).T @ K.T
    # V Kᵀ (K Kᵀ + λI)⁻¹
    large = K @ K.T + strength * torch.eye(d, dtype=K.dtype, device=K.device)
    return torch.linalg.solve(large, K @ V.T).T


class Moment:
    """C with its Cholesky factor, computed once: `moment.solve(K)` is C⁻¹ K.

    Raises ValueError when C is not positive definite (too few keys: add damping).
    """

    def __init__(self, C: Tensor) -> None:
        self.C = C
        self.factor, info = torch.linalg.cholesky_ex(C)
        if info.any():
            raise ValueError(
                f"C ({C.shape[0]} wide) is not positive definite: take more tokens or damp it"
            )

    def solve(self, K: Tensor) -> Tensor:
        """C⁻¹ K, (d_in, n), computed in C's type and returned in K's."""
        return torch.cholesky_solve(K.to(self.C.dtype), self.factor).to(K.dtype)


def moment(C: Tensor | Moment | None) -> Moment | None:
    """C as a Moment; None stands for the identity."""
    return Moment(C) if isinstance(C, Tensor) else C


def whiten(K: Tensor, C: Tensor | Moment | None) -> Tensor:
    """C⁻¹ K; K itself for C = None (the identity)."""
    C = moment(C)
    return K if C is None else C.solve(K)


def insert(
    W: Tensor, k: Tensor, v: Tensor, C: Tensor | Moment | None = None
) -> tuple[Tensor, Tensor]:
    """The smallest change that makes W k = v, as factors Λ (d_out, 1) and (C⁻¹k)ᵀ (1, d_in).

    min tr(Δ C Δᵀ) subject to (W + Δ) k = v: ROME's equation 2. Unchanged when C is scaled.
    W = I, k = (1, 0), v = (5, 7), C = I -> Δ = [[4, 0], [7, 0]].
    """
    u = whiten(k[:, None], C)[:, 0]  # (d_in,)
    # Λ = (v − W k) / (kᵀ C⁻¹ k)
    return ((v - W @ k) / (k @ u))[:, None], u[None]


def insert_many(
    W: Tensor, K: Tensor, V: Tensor, C: Tensor | Moment | None = None, ridge: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Several pairs at once with equality, as factors R D⁻¹ (d_out, n) and (C⁻¹K)ᵀ (n, d_in).

    min tr(Δ C Δᵀ) subject to (W + Δ) K = V gives Δ = R (KᵀC⁻¹K)⁻¹ KᵀC⁻¹ with R = V − W K. `ridge`
    is relative to the mean of diag(KᵀC⁻¹K): two equal keys with two values cannot both hold, and
    make the system singular without it. One column gives `insert`.
    """
    U = whiten(K, C)  # (d_in, n)
    D = K.T @ U  # (n, n), symmetric
    D = D + ridge * D.diagonal().mean() * torch.eye(len(D), dtype=D.dtype, device=D.device)
    # Δ = R D⁻¹ (C⁻¹K)ᵀ
    return torch.linalg.solve(D, (V - W @ K).T).T, U.T


def interference(K: Tensor, C: Tensor | Moment | None = None) -> Tensor:
    """ρ(i, j) = k_iᵀC⁻¹k_j / k_iᵀC⁻¹k_i, (n, n): the share of residual i that lands on key j.

    The P matrix of *Knowledge in Superposition*. Diagonal 1; 0 means that edit i leaves j alone.
    """
    Q = K.T @ whiten(K, C)
    return Q / Q.diagonal()[:, None]


def gram(K: Tensor) -> Tensor:
    """Q(i, j) = k_iᵀ k_j, (n, n): plain inner products of keys."""
    return K.T @ K
