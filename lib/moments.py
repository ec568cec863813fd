"""Running moments of features over a whole life of edits, merged exactly (Chan et al., 1979).

Keys and gradients are standardized with the mean and deviation of all that was seen so far. A state
is a value: `merge` gives a new one, so a patch can keep it and go back to an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .features import Features

EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Moments:
    """count n, mean (d,) and the sum of squared deviations S (d,) of columns, float64.

    scatter (d, d), if kept, is the full matrix whose diagonal S is.
    """

    n: int
    mean: Tensor
    S: Tensor
    scatter: Tensor | None = None

    @classmethod
    def empty(cls, d: int, full: bool = False) -> Moments:
        """Nothing seen yet."""
        zeros = torch.zeros(d, dtype=torch.float64)
        return cls(0, zeros, zeros, torch.zeros(d, d, dtype=torch.float64) if full else None)

    def merge(self, x: Tensor, compat: bool = False) -> Moments:
        """The state that has also seen the columns x (d, m); the same as seeing all at once.

        compat=True repeats a slip of the released UltraEdit, which its published figures need: it
        adds S m/(m − 1) for a chunk of m > 1 columns.
        """
        x, m = x.double().cpu(), x.shape[1]
        if not m:
            return self
        mean = x.mean(1)
        centered = x - mean[:, None]
        factor = m / (m - 1) if compat and m > 1 else 1.0
        n, shift = self.n + m, mean - self.mean
        between = self.n * m / n  # the two means differ: δ² n_a n_b / n
        S = self.S + factor * centered.square().sum(1) + between * shift.square()
        scatter = self.scatter
        if scatter is not None:
            scatter = scatter + factor * centered @ centered.T + between * torch.outer(shift, shift)
        return Moments(n, self.mean + shift * (m / n), S, scatter)

    @property
    def deviation(self) -> Tensor:
        """σ (d,), unbiased; no smaller than 1e-8 of the largest, so that a unit that was constant
        so far is not divided by nothing.
        """
        sigma = (self.S / max(1, self.n - 1)).sqrt()
        return sigma.clamp(min=1e-8 * sigma.max().item())

    def standardize(self, x: Tensor) -> Tensor:
        """(x − μ)/(σ + ε), float64; only centered before the second column was seen."""
        x = x.double().cpu() - self.mean[:, None]
        return x if self.n < 2 else x / (self.deviation + EPS)[:, None]

    def whiten(self, x: Tensor, floor: float = 1e-6) -> Tensor:
        """Σ^{-1/2}(x − μ) with Σ = scatter/(n − d − 1); standardized while there are too few.

        floor bounds the eigenvalues from below, as a share of their mean.
        """
        d = len(self.mean)
        if self.scatter is None or self.n <= d + 1:
            return self.standardize(x)
        values, vectors = torch.linalg.eigh(self.scatter / (self.n - d - 1))
        scale = values.clamp(min=floor * values.mean().item()).rsqrt()
        return (vectors * scale) @ (vectors.T @ (x.double().cpu() - self.mean[:, None]))

    def state(self) -> dict[str, Any]:
        """What a patch keeps."""
        full = {} if self.scatter is None else {"scatter": self.scatter}
        return {"n": self.n, "mean": self.mean, "S": self.S, **full}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Moments:
        """The state that `state()` describes."""
        return cls(int(kept["n"]), kept["mean"], kept["S"], kept.get("scatter"))


@dataclass(frozen=True)
class Pairs:
    """Moments of keys (d_in) and of gradients (d_out), which share their count.

    One state serves all edited modules of a shape. full=True keeps the gradients' whole scatter.
    """

    keys: Moments
    grads: Moments

    @classmethod
    def empty(cls, d_in: int, d_out: int, full: bool = False) -> Pairs:
        """Nothing seen yet."""
        return cls(Moments.empty(d_in), Moments.empty(d_out, full))

    @property
    def count(self) -> int:
        """Columns seen."""
        return self.keys.n

    def merge(self, parts: Iterable[Features], compat: bool = False) -> Pairs:
        """The state after the columns of several modules, group by group."""
        keys, grads = self.keys, self.grads
        for part in parts:
            for group in part.group.unique().tolist():
                mine = part.group == group
                keys = keys.merge(part.K[:, mine], compat)
                grads = grads.merge(part.G[:, mine], compat)
        return Pairs(keys, grads)

    def standardize(self, part: Features) -> tuple[Tensor, Tensor]:
        """k̂ (d_in, n) and ĝ (d_out, n), float64; ĝ whitened where the scatter is kept."""
        return self.keys.standardize(part.K), self.grads.whiten(part.G)

    def state(self) -> dict[str, Any]:
        """What a patch keeps."""
        return {"keys": self.keys.state(), "grads": self.grads.state()}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Pairs:
        """The state that `state()` describes."""
        return cls(Moments.load(kept["keys"]), Moments.load(kept["grads"]))
