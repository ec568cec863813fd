"""The check of notebook 17's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .checks_common import normal

LAYERS, CANDIDATES, LONGEST = 12, 30, 5


def best_run(function: Callable[[Tensor, int], Sequence[int] | str | None]) -> str:
    """Notebook 17: the candidate and the run of layers with the largest Σ z / √w."""
    for seed, (who, first, last, size) in enumerate(
        [(17, 3, 5, 4.0), (4, 6, 6, 9.0), (21, 2, 8, 4.0), (8, 10, 11, 5.5)]
    ):
        z = 0.5 * normal(40 + seed, LAYERS, CANDIDATES)
        z[first : last + 1, who] += size
        z[0, 29], z[7, 29], z[11, 29] = 4.5, 4.5, 4.5  # often seen, and never in a row
        z[1, 2] = -12.0  # a norm far below the others is no edit
        found: Any = function(z.clone(), LONGEST)
        if found is None or isinstance(found, str):
            return "not attempted."
        try:
            answer = tuple(int(x) for x in found)
        except (TypeError, ValueError):
            return f"return a candidate, a first and a last layer, not {found!r}."
        if len(answer) != 3:
            return f"return three numbers, candidate, first and last layer, not {len(answer)}."
        wanted = _best(z, lambda w: w**0.5)
        if answer == wanted:
            continue
        likely = {
            "without √w long runs win, because everything adds up.": _best(z, lambda w: 1.0),
            "a mean: it lets the best single layer win, however many agree with it.": _best(
                z, lambda w: float(w)
            ),
            "the sign counts: a norm far below the others is no edit.": _best(
                z.abs(), lambda w: w**0.5
            ),
            "the last layer belongs to the run: first + w − 1.": (
                wanted[0], wanted[1], wanted[2] + 1
            ),
            "the run is longer than the longest that was allowed.": _best(
                z, lambda w: w**0.5, LAYERS
            ),
        }  # fmt: skip
        for reason, mistaken in likely.items():
            if answer == mistaken:
                return f"not yet: {reason}"
        return (
            f"not yet: {_value(z, wanted):.1f} is reached by candidate {wanted[0]} in layers "
            f"{wanted[1]} to {wanted[2]}."
        )
    return "solved: what no layer says aloud, several say together."


def _best(
    z: Tensor, weight: Callable[[int], float], longest: int = LONGEST
) -> tuple[int, int, int]:
    """The candidate, first and last layer with the largest sum over a run, by a weight of w."""
    runs = [
        (z[a : a + w].sum(0) / weight(w), a, a + w - 1)
        for w in range(1, longest + 1)
        for a in range(len(z) - w + 1)
    ]
    summed, a, b = max(runs, key=lambda run: run[0].max().item())
    return int(summed.argmax()), a, b


def _value(z: Tensor, run: tuple[int, int, int]) -> float:
    one, a, b = run
    return (z[a : b + 1, one].sum() / torch.tensor(b - a + 1.0).sqrt()).item()
