"""The check of notebook 08's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .checks_common import normal


def blow_up(function: Callable[[Tensor, Tensor, Tensor], float | Tensor | str]) -> str:
    """Notebook 08: how many times longer the published update is than R-ROME's."""
    L = normal(8, 12, 12) * torch.arange(1, 13).double() ** -0.7
    C, bare, mean = L @ L.T + 0.01 * torch.eye(12), normal(9, 12), normal(10, 12)
    u, missing = torch.linalg.solve(C, mean), (bare @ mean) / (mean @ mean)
    value = (u @ mean / (u @ bare)).abs().item()
    u_bare = torch.linalg.solve(C, bare)
    likely = {
        1 / value: "upside down: the published update divides by u·k₀.",
        (mean @ mean / (mean @ bare)).abs().item(): "where is C? The direction is u = C⁻¹k̄.",
        1 / missing.abs().item(): "where is C? The direction is u = C⁻¹k̄.",
        (u_bare @ bare / (u_bare @ mean)).abs().item(): "u is made from k̄, not from k₀.",
        (mean.norm() / bare.norm()).item(): "lengths alone: a long key may point elsewhere.",
        1 / torch.cosine_similarity(bare, mean, dim=0).abs().item(): "the angle alone, without C?",
    }
    found = function(bare.clone(), mean.clone(), C.clone())
    if found is None or isinstance(found, str):
        return "not attempted."
    found = torch.as_tensor(found, dtype=torch.float64)
    if found.numel() != 1:
        return f"it has shape {tuple(found.shape)}: one number is asked for."
    found = found.item()
    if _close(-found, value) and _close(found, u @ mean / (u @ bare)):
        return "a length has no sign: take the absolute value."
    for wrong, reason in likely.items():
        if _close(abs(found), wrong):
            return f"not yet: {reason}"
    if not _close(found, value):
        return f"it gives {found:.3g}, not {value:.3g}: both updates have the same direction u."
    return f"solved: {value:.3g} times, and no search for a value was needed to say so."


def _close(a: float, b: float | Tensor) -> bool:
    return abs(a - float(b)) < 1e-6 * max(1.0, abs(float(b)))
