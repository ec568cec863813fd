"""Running moments of keys and gradients over all edits of a model, merged exactly.

Keys and gradients are standardized using the mean and deviation of everything seen so far. States
are merged by the rule of Chan et al. (1979), which gives the moments of all columns together. A
state is a value, and `merge` returns a new one, so a patch can keep its state while an earlier
patch still has the earlier state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .answer_gradients import KeyGradients

EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class RunningMoments:
    """Count, mean and deviation of the columns seen so far, float64.

    n        number of columns
    mean     (d,) their mean
    S        (d,) the sum of their squared deviations from the mean
    scatter  (d, d) the matrix whose diagonal is S, or None if only the diagonal is stored

    All computations with a state happen on its device.
    """

    n: int
    mean: Tensor
    S: Tensor
    scatter: Tensor | None = None

    @classmethod
    def empty(cls, d: int, full: bool = False) -> RunningMoments:
        """Return the state before seeing anything."""
        zeros = torch.zeros(d, dtype=torch.float64)
        return cls(0, zeros, zeros, torch.zeros(d, d, dtype=torch.float64) if full else None)

    def to(self, device: torch.device | str) -> RunningMoments:
        """Return the same state on another device."""
        scatter = None if self.scatter is None else self.scatter.to(device)
        return RunningMoments(self.n, self.mean.to(device), self.S.to(device), scatter)

    def _mine(self, x: Tensor) -> Tensor:
        return x.to(self.mean.device).double()  # in this order: some devices have no float64

    def of(self, x: Tensor) -> RunningMoments:
        """Return the state of only the columns x (d, m > 0), with a scatter if this one has one."""
        x, m = self._mine(x), x.shape[1]
        mean = x.mean(1)
        centered = x - mean[:, None]
        scatter = None if self.scatter is None else centered @ centered.T
        return RunningMoments(m, mean, centered.square().sum(1), scatter)

    def merge(self, x: Tensor | RunningMoments) -> RunningMoments:
        """Return the state after also seeing the columns x (d, m), or another state's columns."""
        if not isinstance(x, RunningMoments):
            if not x.shape[1]:
                return self
            x = self.of(x)
        n, shift = self.n + x.n, x.mean - self.mean
        between = self.n * x.n / n  # the two means differ: δ² n_a n_b / n
        S = self.S + x.S + between * shift.square()
        scatter = self.scatter
        if scatter is not None:
            scatter = scatter + x.scatter + between * torch.outer(shift, shift)
        return RunningMoments(n, self.mean + shift * (x.n / n), S, scatter)

    @property
    def deviation(self) -> Tensor:
        """Return σ (d,), unbiased and no smaller than 1e-8 of the largest.

        The bound prevents dividing by zero for units that have been constant so far.
        """
        sigma = (self.S / max(1, self.n - 1)).sqrt()
        return torch.maximum(sigma, 1e-8 * sigma.max())

    def standardize(self, x: Tensor) -> Tensor:
        """Return (x − μ)/(σ + ε) (d, m), float64; only centered before seeing a second column."""
        x = self._mine(x) - self.mean[:, None]
        return x if self.n < 2 else x / (self.deviation + EPS)[:, None]

    def whiten(self, x: Tensor, floor: float = 1e-6) -> Tensor:
        """Return Σ^{-1/2}(x − μ) (d, m) with Σ = scatter/(n − d − 1), float64.

        Without a scatter, or with too few columns for it, x is standardized. floor bounds the
        eigenvalues of Σ from below, as a fraction of their mean.
        """
        d = len(self.mean)
        if self.scatter is None or self.n <= d + 1:
            return self.standardize(x)
        values, vectors = torch.linalg.eigh(self.scatter / (self.n - d - 1))
        scale = torch.maximum(values, floor * values.mean()).rsqrt()
        return (vectors * scale) @ (vectors.T @ (self._mine(x) - self.mean[:, None]))

    def state(self) -> dict[str, Any]:
        """Return the numbers and tensors that a patch stores, on the CPU."""
        now = self.to("cpu")
        full = {} if now.scatter is None else {"scatter": now.scatter}
        return {"n": now.n, "mean": now.mean, "S": now.S, **full}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> RunningMoments:
        """Return the state described by `state()`."""
        return cls(int(kept["n"]), kept["mean"], kept["S"], kept.get("scatter"))


@dataclass(frozen=True)
class KeyGradientMoments:
    """Running moments of keys and of gradients, sharing their count.

    One state serves all edited modules of a shape.

    keys   moments of the keys (d_in)
    grads  moments of the gradients (d_out), with the whole scatter if `empty` got full=True
    """

    keys: RunningMoments
    grads: RunningMoments

    @classmethod
    def empty(cls, d_in: int, d_out: int, full: bool = False) -> KeyGradientMoments:
        """Return the state before seeing anything."""
        return cls(RunningMoments.empty(d_in), RunningMoments.empty(d_out, full))

    def to(self, device: torch.device | str) -> KeyGradientMoments:
        """Return the same state on another device."""
        return KeyGradientMoments(self.keys.to(device), self.grads.to(device))

    def merge(self, parts: Iterable[KeyGradients]) -> KeyGradientMoments:
        """Return the state after the columns of several modules, group by group."""
        keys, grads = self.keys, self.grads
        for part in parts:
            sizes = part.group.unique_consecutive(return_counts=True)[1].tolist()
            for K, G in zip(part.K.split(sizes, 1), part.G.split(sizes, 1), strict=True):
                keys, grads = keys.merge(K), grads.merge(G)
        return KeyGradientMoments(keys, grads)

    def standardize(self, part: KeyGradients) -> tuple[Tensor, Tensor]:
        """Return k̂ (d_in, n) and ĝ (d_out, n), float64; ĝ is whitened if the scatter is stored."""
        return self.keys.standardize(part.K), self.grads.whiten(part.G)

    def state(self) -> dict[str, Any]:
        """Return the numbers and tensors that a patch stores, on the CPU."""
        return {"keys": self.keys.state(), "grads": self.grads.state()}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> KeyGradientMoments:
        """Return the state described by `state()`."""
        return cls(RunningMoments.load(kept["keys"]), RunningMoments.load(kept["grads"]))
