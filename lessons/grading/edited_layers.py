"""A layer that may have been edited, and a defender who inspects its weights: for session 9.

Keys have a second moment with decreasing eigenvalues, as in a real layer. Editor and defender each
estimate it from their own text, and the defender reads the subject after his own prefix, so that
neither has the exact direction of the edit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lessons.marking import normal

N, D_OUT, D_IN = 41, 24, 32  # candidates, outputs, inputs
TOKENS = 2000  # of either text
MAD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def norms(W: Tensor, U: Tensor) -> Tensor:
    """The factors by which W stretches the directions in the columns of U (d_in, n): (n,)."""
    return (W @ U).norm(dim=0) / U.norm(dim=0)


def robust(T: Tensor) -> Tensor:
    """The robust z of each of an odd number of values, (n,)."""
    away = T - T.median()
    return away / (MAD * away.abs().median())


def price(change: Tensor, C: Tensor) -> float:
    """tr(Δ C Δᵀ): the mean squared effect of a change on general text."""
    return (change @ C @ change.T).trace().item()


class Layer:
    """An unedited W (d_out, d_in), keys K (d_in, n) of candidates, and C of either side.

    decay  of the eigenvalues of the true second moment: the i-th is 1/i^decay.
    """

    def __init__(self, draw: torch.Generator, decay: float) -> None:
        scale = torch.arange(1, D_IN + 1).double() ** (-decay / 2)
        self.draw = draw
        self.root = torch.linalg.qr(normal(draw, D_IN, D_IN)).Q * scale
        lengths = 0.3 + 3 * torch.rand(N, generator=draw).double()
        self.K = self.root @ normal(draw, D_IN, N) * lengths
        self.W = normal(draw, D_OUT, D_IN)
        self.C, self.own_C = self.moment(), self.moment()  # the editor's, the defender's
        prefix = self.root @ normal(draw, D_IN, 1) * lengths  # in the key's own units
        self.read = self.K + 0.4 * prefix  # the candidates after the defender's prefix

    def moment(self) -> Tensor:
        """C (d_in, d_in), estimated from one side's text."""
        text = self.root @ normal(self.draw, D_IN, TOKENS)
        return text @ text.T / TOKENS

    def edited(self, place: int, size: float) -> Tensor:
        """W after the cheapest edit of a candidate, whose change has a length of `size`."""
        u = torch.linalg.solve(self.C, self.K[:, place])
        r = normal(self.draw, D_OUT)
        return self.W + size * torch.outer(r / r.norm(), u / u.norm())

    def z(self, W: Tensor) -> Tensor:
        """The robust z of all candidates for the defender, (n,)."""
        return robust(norms(W, torch.linalg.solve(self.own_C, self.read)))
