"""The check of notebook 06's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def directions(function: Callable[[Tensor, float, float], int | str]) -> str:
    """Notebook 06: the most directions of least eigenvalue that keep every update within b."""
    draw = torch.Generator().manual_seed(4)
    cases = ((0.5, 0.002), (0.3, 0.0009), (2.0, 0.08), (0.1, 1.0), (5.0, 1e-9))
    for s, b in cases:
        values = torch.rand(200, generator=draw).double().pow(3).mul(0.1).add(1e-4).sort().values
        r = function(values.clone(), s, b)
        if isinstance(r, str) or r is None:
            return "not attempted."
        r, right = int(r), int((values * s**2 <= b).sum())
        if r == right:
            continue
        where = f"for s = {s:g} and b = {b:g}"
        if not 0 <= r <= len(values):
            return f"{where} {r} directions of {len(values)}: count those that are allowed."
        if r == len(values) - right:
            return f"{where} {r} directions: those are to be left out, values ascend."
        likely = {
            int((values * s <= b).sum()): "damage is a square: how long is Δ there?",
            int((values <= b).sum()): "where is the length of the update?",
            int((values.cumsum(0) * s**2 <= b).sum()): (
                "an update has one length s for all directions together, not for each."
            ),
            int((values.cumsum(0) / values.sum() <= b).sum()): "a share of tr C bounds nothing.",
        }
        if r in likely:
            return f"{where} {r} directions: {likely[r]}"
        if r > right:
            worst = values[r - 1] * s**2
            return f"{where} {r} directions: an update along the last one does {worst:.2g}."
        return f"{where} {r} directions are safe, but so are {right}."
    return "solved: as many as have an eigenvalue of at most b/s²."
