"""The checks of notebook 16's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor

import lib

FACTS = 8
FACTOR = 2.0  # an estimate within this factor of the measurement will do


def merged(function: Callable[[Sequence[tuple[Tensor, Tensor]], float], Tensor | str]) -> str:
    """Notebook 16: Δ = R Kᵀ(λ + KKᵀ)⁻¹ where each worker holds some columns of K and R."""
    for seed in range(6):
        draw = torch.Generator().manual_seed(seed)
        parts = [
            (torch.randn(7, n, generator=draw).double(), torch.randn(3, n, generator=draw).double())
            for n in ((2, 3, 1), (9, 4), (5, 6, 7, 8))[seed % 3]
        ]
        found = function([(K.clone(), R.clone()) for K, R in parts], 0.5)
        if found is None or isinstance(found, str):
            return "not attempted."
        found = torch.as_tensor(found).double()
        K, R = (torch.cat(side, 1) for side in zip(*parts, strict=True))
        wanted = _solve(K @ K.T, R @ K.T, 0.5)
        if found.shape != wanted.shape:
            return f"Δ has shape {tuple(found.shape)}, not {tuple(wanted.shape)}: (d_out, d_in)."
        alone = torch.stack([_solve(k @ k.T, r @ k.T, 0.5) for k, r in parts])
        often = _solve(K @ K.T, R @ K.T, 0.5 * len(parts))
        likely = {
            "solutions do not add; the sums do": alone.sum(0),
            "a mean of solutions: each has seen its own facts only": alone.mean(0),
            "λ counts once: was it added by every worker, or were means taken?": often,
            "where is λ?": torch.linalg.lstsq(K.T, R.T).solution.T,
        }
        if torch.allclose(found, wanted, atol=1e-8):
            continue
        for reason, value in likely.items():
            if torch.allclose(found, value, atol=1e-8):
                return f"not yet: {reason}."
        return f"{len(parts)} workers: off by {(found - wanted).norm():.3f}. Add KKᵀ and RKᵀ first."
    return "solved: two sums cross the wire, whatever the number of facts."


def edits_per_hour(lm: lib.LM, estimate: float | None, name: str = "ultraedit") -> str:
    """Notebook 16: an estimate of edits per hour, against a measurement of eight facts."""
    if estimate is None:
        return "not attempted."
    if not isinstance(estimate, int | float) or estimate <= 0:
        return "a number of edits per hour, above 0."
    editor = lib.EDITORS[name](lm)
    facts = [case.fact for case in lib.classroom()[: FACTS + 2]]
    editor.edit(facts[FACTS:])  # the first call prepares: statistics
    start = perf_counter()
    editor.edit(facts[:FACTS])
    measured = 3600 * FACTS / (perf_counter() - start)
    ratio = estimate / measured
    said = f"measured {measured:,.0f} per hour, estimated {estimate:,.0f}"
    if 1 / FACTOR <= ratio <= FACTOR:
        return f"solved: {said}."
    for factor, reason in {
        3600: "is that per hour or in all seconds of it",
        60: "minutes or hours",
        FACTS: "a turn or a fact",
    }.items():
        for way in (factor, 1 / factor):
            if 0.6 < ratio / way < 1.6:
                return f"{said}, {max(ratio, 1 / ratio):,.0f} times off: {reason}?"
    side = "much" if ratio > 1 else "little"
    return f"{said}: too {side} by {max(ratio, 1 / ratio):.1f}. Which step did you not count?"


def _solve(G: Tensor, M: Tensor, strength: float) -> Tensor:
    return torch.linalg.solve(G + strength * torch.eye(len(G)).to(G), M.T).T
