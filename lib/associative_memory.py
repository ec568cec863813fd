"""A linear layer as an associative memory, W k = v, in closed form (needs only torch).

Locate-then-edit methods treat the output matrix W of an MLP as a memory mapping keys to values.
Keys and values are columns: K (d_in, n), V (d_out, n). C (d_in, d_in) is the second moment E[k kᵀ]
of the keys whose outputs should be preserved. Functions compute in the dtype of their inputs; use
float64 if you need more precision.

Every insert has the form Δ = R B. The residual R (d_out, n) is the part of each value still missing
at its key, and the reach B (n, d_in) depends only on the keys. For any other key k, B k gives the
fraction of each residual added at k, so you can use B to predict which other facts an edit will
disturb before writing anything (see `interference`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ArgumentError


def fit(K: Tensor, V: Tensor) -> Tensor:
    """Return W (d_out, d_in) minimizing ‖W K − V‖²_F.

    If the keys leave W undetermined, it is the W with the smallest norm. Setting the gradient to
    zero gives the normal equations W K Kᵀ = V Kᵀ.
    K = [[1, 0], [0, 2]], V = [[3, 4]] -> W = [[3, 2]].
    """
    # W = V Kᵀ (K Kᵀ)⁻¹, using rank-revealing least squares so that K Kᵀ may be singular
    return torch.linalg.lstsq(K.T.cpu(), V.T.cpu(), driver="gelsd").solution.T.to(K.device)


def ridge(K: Tensor, V: Tensor, strength: float) -> Tensor:
    """Return W (d_out, d_in) minimizing ‖W K − V‖²_F + strength·‖W‖²_F.

    By keeping W small, the second term limits the effect of noise on a key. The smaller of the
    two forms of the system is solved, (n, n) or (d_in, d_in).
    K = [[1], [0]], V = [[2]], strength 1 -> W = [[1, 0]].
    """
    d, n = K.shape
    if n < d:  # V (KᵀK + λI)⁻¹ Kᵀ
        small = K.T @ K + strength * torch.eye(n, dtype=K.dtype, device=K.device)
        return torch.linalg.solve(small, V.T).T @ K.T
    # V Kᵀ (K Kᵀ + λI)⁻¹
    large = K @ K.T + strength * torch.eye(d, dtype=K.dtype, device=K.device)
    return torch.linalg.solve(large, K @ V.T).T


def from_factor(factor: Tensor, B: Tensor) -> Tensor:
    """Return (L Lᵀ)⁻¹ B (d, n) from the factor L, the lower triangle of a matrix (d, d).

    `torch.cholesky_solve` would copy the factor, 1.6 GB for 14,336 inputs in double precision.
    """
    B = torch.linalg.solve_triangular(factor, B, upper=False)
    return torch.linalg.solve_triangular(factor.mT, B, upper=True)


def compressed(K: Tensor) -> Tensor:
    """Return keys with the same K Kᵀ in at most 5/4 d_in columns; few columns are left unchanged.

    A regression preserving old keys only needs their K Kᵀ, and d_in columns are enough for storing
    it. By delaying the decomposition until there are a quarter more, a stream rarely pays for it.
    """
    if K.shape[1] <= 1.25 * len(K):
        return K
    # Kᵀ = Q R with QᵀQ = I, so K Kᵀ = Rᵀ R
    return torch.linalg.qr(K.T.double(), mode="r").R.T.to(K).contiguous()


class Moment:
    """A second moment C with its Cholesky factor, computed once for solving many systems.

    factor    (d_in, d_in) lower triangular L with C = L Lᵀ. The part above its diagonal is C's own
              upper half, so both fit in the memory of one matrix; solvers read the lower triangle.
    diagonal  (d_in,) of C.

    Raises ValueError if C is not positive definite (too few keys: add damping).
    """

    def __init__(self, C: Tensor) -> None:
        self.factor, info = torch.linalg.cholesky_ex(C)
        if info.any():
            raise ArgumentError(
                f"C ({C.shape[0]} wide) is not positive definite. Use more tokens or add damping."
            )
        torch.where(torch.ones_like(C, dtype=torch.bool).tril_(), self.factor, C, out=self.factor)
        self.diagonal = C.diagonal().clone()

    @property
    def C(self) -> Tensor:
        """The matrix (d_in, d_in), assembled again at each call."""
        upper = self.factor.triu(1)
        return (upper + upper.T).diagonal_scatter(self.diagonal)

    def solve(self, K: Tensor) -> Tensor:
        """Return C⁻¹ K, (d_in, n), computed in C's type and returned in K's."""
        return from_factor(self.factor, K.to(self.factor.dtype)).to(K.dtype)


def moment(C: Tensor | Moment | None) -> Moment | None:
    """Return C as a Moment; None, which means the identity, stays None."""
    return Moment(C) if isinstance(C, Tensor) else C


def whiten(K: Tensor, C: Tensor | Moment | None) -> Tensor:
    """Return C⁻¹ K (d_in, n); K itself for C = None (the identity)."""
    C = moment(C)
    return K if C is None else C.solve(K)


def reach(
    K: Tensor,
    C: Tensor | Moment | None = None,
    strength: float | Tensor = 0.0,
    kept: Tensor | None = None,
    ridge: float | Tensor = 0.0,
) -> Tensor:
    """Return B (n, d_in) such that Δ = R B writes residuals R (d_out, n) at keys K (d_in, n).

    C         second moment of the keys of general text; None for the identity.
    strength  λ weights general text, min λ·tr(Δ C Δᵀ) + ‖Δ K − R‖² (MEMIT). 0 requires equality
              (EMMET; ROME with one column).
    kept      (d_in, m) keys Kp of earlier edits whose outputs should be preserved, a term ‖Δ Kp‖².
    ridge     added to the system, relative to the mean of diag(KᵀC⁻¹K). Equality on two equal keys
              is singular and gets 1e-6.

    The smaller of the two forms of the system is solved, (d_in, d_in) or (m + n, m + n).
    K = [[2], [0]], C = I, strength 4 -> [[0.25, 0]]: half of the residual arrives.
    """
    n = K.shape[1]
    G = K if kept is None else torch.cat([kept.to(K), K], 1)  # G = [Kp K]
    C = moment(C)
    if strength and G.shape[1] > len(G):
        # B = Kᵀ (λC + Kp Kpᵀ + K Kᵀ)⁻¹
        general = torch.eye(len(G)).to(G) if C is None else C.C.to(G)
        return from_factor(torch.linalg.cholesky(strength * general + G @ G.T), K).T
    # the rows of (λI + GᵀC⁻¹G)⁻¹ GᵀC⁻¹ that belong to K (Woodbury)
    U = whiten(G, C)  # (d_in, m + n)
    D = G.T @ U  # GᵀC⁻¹G
    D = (D + D.T) / 2  # rounding makes it slightly asymmetric
    one = torch.eye(len(D)).to(D)
    factor, failed = torch.linalg.cholesky_ex(D + (strength + ridge * D.diagonal().mean()) * one)
    if failed:  # not of full rank: two facts with one key
        factor = torch.linalg.cholesky(D + (strength + 1e-6 * D.diagonal().mean()) * one)
    return from_factor(factor, U.T)[-n:]


def insert(
    W: Tensor, k: Tensor, v: Tensor, C: Tensor | Moment | None = None
) -> tuple[Tensor, Tensor]:
    """Return the smallest change with W k = v, as factors Λ (d_out, 1) and (C⁻¹k)ᵀ (1, d_in).

    min tr(Δ C Δᵀ) subject to (W + Δ) k = v: ROME's equation 2. k is (d_in,) and v is (d_out,).
    Scaling C has no effect.
    W = I, k = (1, 0), v = (5, 7), C = I -> Δ = [[4, 0], [7, 0]].
    """
    u = whiten(k[:, None], C)[:, 0]  # (d_in,)
    # Λ = (v − W k) / (kᵀ C⁻¹ k)
    return ((v - W @ k) / (k @ u))[:, None], u[None]


def insert_many(
    W: Tensor,
    K: Tensor,
    V: Tensor,
    C: Tensor | Moment | None = None,
    strength: float = 0.0,
    kept: Tensor | None = None,
    ridge: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Insert several pairs at once, returning factors R (d_out, n) and B (n, d_in); see `reach`.

    With strength λ > 0, the change is Δ = R Kᵀ (λC + K Kᵀ)⁻¹ (MEMIT). With strength 0, it has the
    smallest tr(Δ C Δᵀ) among the changes with (W + Δ) K = V, which is Δ = R (KᵀC⁻¹K)⁻¹ KᵀC⁻¹
    (EMMET). A single column with equality gives `insert`.
    """
    return V - W @ K, reach(K, C, strength, kept, ridge)


@dataclass(frozen=True)
class NullSpace:
    """The directions that general text barely uses, with P = Q Qᵀ projecting onto them.

    Q          (d_in, r) orthonormal columns, eigenvectors of C.
    threshold  an upper bound on the eigenvalues of C belonging to them.
    share      the fraction of tr C inside.
    """

    Q: Tensor
    threshold: float
    share: float


def null_space(
    C: Tensor, threshold: float | None = 2e-2, quantile: float | None = None
) -> NullSpace:
    """Return the eigenvectors of C whose eigenvalue is below `threshold`, or the lowest `quantile`.

    The threshold is absolute, so it depends on the scale of a model's keys; a quantile does not.
    Raises ValueError if no direction is left.
    """
    return null_space_of(*torch.linalg.eigh(C), threshold=threshold, quantile=quantile)


def null_space_of(
    values: Tensor, vectors: Tensor, *, threshold: float | None, quantile: float | None = None
) -> NullSpace:
    """Return `null_space` from the eigenvalues of C, in ascending order, and its eigenvectors."""
    if quantile is not None:
        threshold = values[min(len(values) - 1, round(quantile * len(values)))].item()
    r = int((values < threshold).sum())
    if not r:
        raise ArgumentError(
            f"No eigenvalue of C is below {threshold:g} (the smallest is {values[0].item():.2g}). "
            "Use a higher threshold, or a quantile."
        )
    share = (values[:r].clamp(min=0).sum() / values.sum()).item()
    return NullSpace(vectors[:, :r], float(threshold), share)


def insert_null(
    W: Tensor, K: Tensor, V: Tensor, Q: Tensor, L2: float, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Insert pairs inside a null space (AlphaEdit), returning factors R (d_out, n) and B (n, d_in).

    min ‖(W + ΔP)K − V‖² + ‖ΔP Kp‖² + L2‖ΔP‖² with P = Q Qᵀ. In the basis Q, this is `insert_many`
    with C = I and λ = L2: Δ = R (QᵀK)ᵀ (QᵀKpKpᵀQ + QᵀKKᵀQ + L2·I)⁻¹ Qᵀ.
    """
    return V - W @ K, reach_null(K, Q, L2, kept)


def reach_null(K: Tensor, Q: Tensor, L2: float, kept: Tensor | None = None) -> Tensor:
    """Return B (n, d_in) of `insert_null`: zero on every key without a part in the null space Q."""
    inside = None if kept is None else Q.T @ kept.to(Q)
    return reach(Q.T @ K, None, L2, inside) @ Q.T


def lifelong(
    W: Tensor, K: Tensor, V: Tensor, C: Tensor | Moment | None = None
) -> tuple[Tensor, Tensor]:
    """Return T single inserts, one after another, in one step: factors δ (d_out, T), B (T, d_in).

    The last matrix is W_T = W + δ B. Column t of δ is the residual v_t − W_{t−1} k_t that edit t
    had to write. An earlier edit s left δ_s ρ(s, t) at its key, so δ triu(ρ) = V − W K, which is a
    triangular system. Afterwards, key j holds v_j + Σ_{i>j} δ_i ρ(i, j): only later edits disturb
    it, and the last edit is exact.
    """
    U = whiten(K, C)
    rho, q = interference(K, C), (K * U).sum(0)
    residuals = torch.linalg.solve_triangular(rho.triu(), V - W @ K, upper=True, left=False)
    return residuals, U.T / q[:, None]


def interference(
    K: Tensor, C: Tensor | Moment | None = None, others: Tensor | None = None
) -> Tensor:
    """Return ρ(i, j) = k_iᵀC⁻¹k_j / k_iᵀC⁻¹k_i (n, n): the fraction of residual i added at key j.

    It is the P matrix of *Knowledge in Superposition*. The diagonal is 1, and 0 means that edit i
    does not affect key j. With `others` (d_in, m), key j is a column of these, and ρ is (n, m).
    """
    U = whiten(K, C)
    return U.T @ (K if others is None else others) / (K * U).sum(0)[:, None]


def gram(K: Tensor) -> Tensor:
    """Return Q(i, j) = k_iᵀ k_j, (n, n): plain inner products of keys."""
    return K.T @ K
