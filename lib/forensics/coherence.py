"""What an edit adds in neighboring layers points the same way: sums of vectors, not of lengths.

MEMIT and its relatives write shares of one value, so that W û of the edited subject has a part in
common in each edited layer, while what W₀ û is there in one layer has little to do with the next.
So before the lengths are compared, the vectors of a run of layers are added: of w layers the common
part grows as w and the rest as √w. Some directions of the output are long for every candidate. They
are shortened first: the candidates' own covariance is divided out, as far as it can be told. In a
single layer that makes an edit's z smaller, and the largest z of an unedited layer, too.

The idea is this project's; we know of no publication of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ForensicsError
from ..keys_values.stretch import robust_z

RIDGE = 3.0  # of the covariance's mean eigenvalue


def enough(n: int, d_out: int) -> None:
    """Raises ForensicsError where n candidates are too few to tell the covariance of d_out outputs.

    Each of them would then divide out itself.
    """
    if n <= d_out:
        raise ForensicsError(
            f"layers are summed as vectors only for more candidates than the {d_out} outputs of a "
            f"layer, not for {n}"
        )


class Whitening(NamedTuple):
    """What makes the outputs of one layer comparable with those of others.

    mean    (d_out,) of the candidates.
    matrix  (d_out, d_out) that divides their covariance out.
    """

    mean: Tensor
    matrix: Tensor

    def of(self, Y: Tensor) -> Tensor:
        """Outputs in the rows of Y (n, d_out), whitened."""
        return (Y - self.mean) @ self.matrix


def whitening(Y: Tensor, ridge: float = RIDGE) -> Whitening:
    """The whitening of candidates' outputs, after which their median length is 1.

    Y      (n, d_out) W û of the candidates
    ridge  multiple of the mean eigenvalue that is added to the covariance
    """
    n, d_out = Y.shape
    mean = Y.mean(0)
    X = Y - mean
    covariance = (X.T @ X).double() / n
    damped = ridge * covariance.diagonal().mean()
    if not damped > 0:  # all candidates are equal
        return Whitening(mean, torch.eye(d_out))
    # (S + ridge · mean eigenvalue · I)^(-1/2), symmetric, so that all layers keep their axes
    values, vectors = torch.linalg.eigh(covariance)
    matrix = ((vectors * (values.clamp_min(0) + damped).rsqrt()) @ vectors.T).float()
    return Whitening(mean, matrix / (X @ matrix).norm(dim=1).median())


def whitened(Y: Tensor, left: Tensor, ridge: float = RIDGE) -> Tensor:
    """The whitened outputs of one layer, (n, d_out) float16.

    left  (n,) bool: candidates that take no part; their rows are 0
    """
    found = torch.zeros(Y.shape, dtype=torch.float16)
    if not left.all():
        found[~left] = whitening(Y[~left], ridge).of(Y[~left]).half()
    return found


def run_z(outputs: Tensor, left: Tensor) -> Tensor:
    """Robust z of ‖Σ vectors‖ over a run of layers, (n,).

    outputs  (w, n, d_out) whitened outputs of the run's layers
    left     (w, n) bool: candidates that take no part in a layer; those left out in one get 0
    """
    return robust_z(outputs.float().sum(0).norm(dim=1), left.any(0))
