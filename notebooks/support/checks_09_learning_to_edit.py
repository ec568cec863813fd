"""The check of notebook 09's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .checks_common import normal


def by_ridge(function: Callable[[Tensor, Tensor, Tensor, Tensor], tuple | str | None]) -> str:
    """Notebook 09: ∂L/∂V and ∂L/∂ℓ of ΔW = V Kᵀ(K Kᵀ + λI)⁻¹, from G = ∂L/∂W."""
    for seed, n in ((1, 3), (2, 9)):  # fewer keys than dimensions, and more
        G, K, V = normal(seed, 4, 6), normal(seed + 10, 6, n), normal(seed + 20, 4, n)
        ell = torch.tensor(0.7, dtype=torch.float64)
        found = function(G.clone(), K.clone(), V.clone(), ell.clone())
        if found is None or isinstance(found, str):
            return "not attempted."
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "return two: ∂L/∂V and ∂L/∂ℓ."
        wanted_V, wanted = _autograd(G, K, V, ell)
        by_V, by_ell = torch.as_tensor(found[0]), torch.as_tensor(found[1])
        if by_V.shape != V.shape:
            return f"∂L/∂V has shape {tuple(by_V.shape)}, V has {tuple(V.shape)}."
        if not torch.allclose(by_V.double(), wanted_V):
            why = "see ⟨G M⁻¹K, V⟩."
            if torch.allclose(by_V.double(), G @ K):
                why = "that is G K: where is the inverse?"
            return f"{n} keys, ∂L/∂V: differs from autograd's: {why}"
        if by_ell.numel() != 1:
            return f"∂L/∂ℓ is one number, not of shape {tuple(by_ell.shape)}."
        value, lam = by_ell.double().item(), ell.exp().item()
        if abs(value - wanted) > 1e-8 * max(1.0, abs(wanted)):
            likely = {
                -wanted: "the sign: a larger λ makes ΔW smaller.",
                wanted / lam: "that is ∂L/∂λ: λ = exp(ℓ).",
                -wanted / lam: "that is −∂L/∂λ: mind the sign, and λ = exp(ℓ).",
                wanted / lam * ell.item(): "dM = λ dℓ I with λ = exp(ℓ), not ℓ.",
            }
            why = [text for v, text in likely.items() if abs(v - value) < 1e-8 * max(1, abs(v))]
            return f"{n} keys, ∂L/∂ℓ: {value:.4f}, autograd has {wanted:.4f}: {(why or ['…'])[0]}"
    return "solved: both agree with autograd, for fewer keys than dimensions and for more."


def _autograd(G: Tensor, K: Tensor, V: Tensor, ell: Tensor) -> tuple[Tensor, float]:
    V, ell = V.clone().requires_grad_(), ell.clone().requires_grad_()
    M = K @ K.T + ell.exp() * torch.eye(len(K), dtype=K.dtype)
    by_V, by_ell = torch.autograd.grad((G * (V @ K.T @ torch.linalg.inv(M))).sum(), [V, ell])
    return by_V, by_ell.item()
