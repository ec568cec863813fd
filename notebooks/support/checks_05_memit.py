"""The check of notebook 05's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lib import memory


def emmet(function: Callable[[float, float], float | str]) -> str:
    """Notebook 05: the λ with which MEMIT is EMMET's program, C times w and ε on the diagonal."""
    for seed, w, epsilon in ((1, 1e4, 0.1), (2, 3.0, 0.5), (3, 40.0, 2.0)):
        strength = function(w, epsilon)
        if isinstance(strength, str) or strength is None:
            return "not attempted."
        draw = torch.Generator().manual_seed(seed)
        L, K, R = (torch.randn(*s, generator=draw).double() for s in ((9, 30), (9, 4), (5, 4)))
        C = L @ L.T / 30
        U = torch.linalg.solve(w * C, K)
        wanted = R @ torch.linalg.solve(K.T @ U + epsilon * torch.eye(4), U.T)
        if not strength > 0:
            return f"λ = {strength:g} asks for equality, but with ε = {epsilon:g} less arrives."
        found = R @ memory.reach(K, C, float(strength))
        if (found - wanted).norm() > 1e-6 * wanted.norm():
            likely = {
                epsilon: "what does w do to both places where C stands?",
                w: "where is ε?",
                epsilon / w: "bring w to ε, not under it: w (D/w + εI) = …",
                w / epsilon: "a larger ε should write less, so λ grows with it.",
            }
            why = [text for value, text in likely.items() if abs(value - strength) < 1e-9 * value]
            share = found.norm() / wanted.norm()
            reason = why[0] if why else f"‖Δ‖ is {share:.3g} times EMMET's."
            return f"w = {w:g}, ε = {epsilon:g}: λ = {strength:g} gives another Δ: {reason}"
    return f"solved: w = 10,000 and ε = 0.1 is MEMIT with λ = {function(1e4, 0.1):,.0f}."
