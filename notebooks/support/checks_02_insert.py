"""The check of notebook 02's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib import memory

from .checks_common import normal


def order(function: Callable[[Tensor, Tensor, Tensor], list[int] | str]) -> str:
    """Notebook 02: an order of twenty edits in which later ones do less damage to earlier ones."""
    given, found, known = 0.0, 0.0, 0.0
    for seed in (8, 9, 10):
        K, R, C = _unequal(seed)
        q = (K * memory.whiten(K, C)).sum(0)
        answer = function(memory.interference(K, C), R.clone(), q.clone())
        if answer is None or isinstance(answer, str):
            return "not attempted."
        answer = [int(i) for i in answer]
        if sorted(answer) != list(range(20)):
            return "this is no order of the edits: each number from 0 to 19 should be there once."
        given += _damage(K, R, C, list(range(20)))
        found += _damage(K, R, C, answer)
        known += _damage(K, R, C, (R.norm(dim=0) / q).argsort(descending=True).tolist())
    share = f"damage {found:.0f}, {given:.0f} in the given order"
    if found >= given:
        return f"{share}: not better. Is the loudest edit the last one? It should be the first."
    if found > 1.5 * known:
        return f"{share}, {known:.0f} is easy: which edits reach far, and how long are they?"
    return f"solved: {share}."


def _unequal(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Twenty keys (64, 20) and residuals (32, 20) of unequal lengths, and C."""
    draw = torch.Generator().manual_seed(seed)
    L = torch.linalg.qr(normal(seed + 1, 64, 64)).Q * torch.arange(1, 65).double() ** -0.5
    K, R = L @ normal(seed + 2, 64, 20), normal(seed + 3, 32, 20)
    sizes = torch.randn(2, 20, generator=draw, dtype=torch.float64).mul(0.7).exp()
    return K * sizes[0], R * sizes[1], L @ L.T


def _damage(K: Tensor, R: Tensor, C: Tensor, order: list[int]) -> float:
    """Squared error that is left when the pairs are written one after another in this order."""
    K, R = K[:, order], R[:, order]
    residuals, reach = memory.lifelong(torch.zeros(len(R), len(K)).to(K), K, R, C)
    return (residuals @ (reach @ K) - R).pow(2).sum().item()
