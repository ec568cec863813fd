"""The checks of notebook 10's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

State = tuple[int, Tensor, Tensor]


def merge(function: Callable[[State, State], State | str | None]) -> str:
    """Notebook 10: the state (n, mean, S) of two workers' rows together."""
    for left, right in ((7, 5), (30, 2), (4, 1), (1, 1), (6, 0), (0, 6)):
        a, b = _rows(1, left), 3 + 2 * _rows(2, right)
        found = function(_state(a), _state(b))
        if found is None or isinstance(found, str):
            return "not attempted."
        if not isinstance(found, tuple | list) or len(found) != 3:
            return "a state is (n, mean, S)."
        n, mean, S = found
        where = f"{left} rows and {right}: "
        if int(n) != left + right:
            return f"{where}n is {int(n)}, not {left + right}."
        if not (torch.as_tensor(mean).isfinite().all() and torch.as_tensor(S).isfinite().all()):
            return f"{where}not a finite number: is something divided by n − 1, or by 0?"
        wanted = _state(torch.cat([a, b], 1))
        if not torch.allclose(mean, wanted[1]):
            middle = (_state(a)[1] + _state(b)[1]) / 2
            why = (
                "weigh each by its count." if torch.allclose(mean, middle) else "see Chan's merge."
            )
            return f"{where}the mean is off by {(mean - wanted[1]).abs().max():.3g}: {why}"
        if not torch.allclose(S, wanted[2]):
            inside = _state(a)[2] + _state(b)[2]
            gap = (_state(b)[1] - _state(a)[1]).square()
            likely = {
                "the two means differ, too: δ²…": inside,
                "the means' part weighs n_a n_b / n, not 1.": inside + gap,
                "the means' part weighs n_a n_b / n, not n_a n_b.": inside + gap * left * right,
            }
            why = [text for text, value in likely.items() if torch.allclose(S, value)]
            reason = why[0] if why else "S is a sum of squared deviations from the common mean."
            return f"{where}S is {(S / wanted[2]).mean():.3g} times what it should be: {reason}"
    return "solved: whoever counted, both together know what one would."


def bound(function: Callable[[int], float | str | None]) -> str:
    """Notebook 10: the largest coordinate that a row among n can standardize to."""
    for n in (2, 3, 10, 101):
        found = function(n)
        if found is None or isinstance(found, str):
            return "not attempted."
        row = torch.zeros(n, dtype=torch.float64)
        row[0] = 1  # one row differs from all others
        reached = (((row - row.mean()) / row.std()).abs().max()).item()
        likely = {
            "that is without the mean: x̂ has it taken off.": n**0.5,
            "that divides S by n: σ² = S/(n − 1).": (n - 1) ** 0.5,
            "that is a deviation, not yet over σ.": (n - 1) / n,
        }
        if abs(found - reached) > 1e-6 * reached:
            why = [text for text, value in likely.items() if abs(found - value) < 1e-6 * value]
            reason = f" {why[0]}" if why else ""
            if found < reached:
                reason = f" one row apart from {n - 1} equal ones has {reached:.4g}.{reason}"
            else:
                reason = reason or " no row of that many gets so far."
            return f"n = {n}: not {found:.4g}:{reason}"
    return f"solved: a hundred rows allow {function(100):.2f}, two {function(2):.2f}, one nothing."


def turn(function: Callable[..., Tensor | str | None]) -> str:
    """Notebook 10: UltraEdit's turn for one matrix, from pairs and moments to Δ."""
    draw = torch.Generator().manual_seed(3)
    for d_in, d_out, n in ((7, 5, 4), (5, 6, 12)):
        K, G = (torch.randn(d, n, generator=draw, dtype=torch.float64) + 0.4 for d in (d_in, d_out))
        moments = [1 + torch.rand(d, generator=draw).double() for d in (d_in, d_in, d_out, d_out)]
        mean_k, sigma_k, mean_g, sigma_g = moments
        found = function(K, G, mean_k, sigma_k, mean_g, sigma_g, 0.3, 0.5)
        if found is None or isinstance(found, str):
            return "not attempted."
        if not isinstance(found, Tensor) or found.shape != (d_out, d_in):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return f"Δ is (d_out, d_in), here {(d_out, d_in)}; this is {shape}."
        k_hat = (K - mean_k[:, None]) / sigma_k[:, None]
        g_hat = (G - mean_g[:, None]) / sigma_g[:, None]
        eye = torch.eye(d_in, dtype=torch.float64)
        length = k_hat.square().sum(0)

        def written(V: Tensor, keys: Tensor, ridge: float = 0.5, eye: Tensor = eye) -> Tensor:
            return V @ keys.T @ torch.linalg.inv(keys @ keys.T + ridge * eye)

        V = -0.3 * length * g_hat
        likely = {
            "which way is downhill? The shift is −η…": written(-V, K),
            "the length is that of k̂, not of k.": written(-0.3 * K.square().sum(0) * g_hat, K),
            "a shift has ‖k̂‖², not ‖k̂‖.": written(-0.3 * length.sqrt() * g_hat, K),
            "the gradient is to be standardized, too.": written(-0.3 * length * G, K),
            "a mean is taken off the gradient before it is divided.": written(
                -0.3 * length * G / sigma_g[:, None], K
            ),
            "the regression sees the keys as they are, K and not K̂.": written(V, k_hat),
            "where is λ?": V @ torch.linalg.pinv(K),
        }
        if not torch.allclose(found, written(V, K)):
            why = [text for text, value in likely.items() if torch.allclose(found, value)]
            gap = (found - written(V, K)).norm() / written(V, K).norm()
            return why[0] if why else f"it is off by {gap:.2g} of its length."
    return "solved: that is UltraEdit, a whole turn of it."


def _rows(seed: int, n: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(3, n, generator=draw, dtype=torch.float64)


def _state(x: Tensor) -> State:
    n = x.shape[1]
    mean = x.mean(1) if n else torch.zeros(len(x), dtype=x.dtype)
    return n, mean, (x - mean[:, None]).square().sum(1)
