"""How far a matrix stretches the direction in which it reads a key, and who stands out in that.

An edit of a key k adds r uᵀ/q with u = C⁻¹k, so that W is longer in this direction than in those of
other keys. The matched filter of `lib/forensics` and the dossier of an entity ask it of many names.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import memory
from ..errors import ForensicsError

MAD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
# Of the mean eigenvalue of C. At 1 an edit's z is a fifth larger, but single layers of the unedited
# embedded model then have candidates with a z up to 9.6 (tests/benchmarks/forensics.json).
DAMPING = 1e-2


class Filter(NamedTuple):
    """What turns keys of one layer into their norms.

    P  (d_in, d_in) C⁻¹ with damping.
    G  (d_out, d_in) W C⁻¹.
    """

    P: Tensor
    G: Tensor

    def norms(self, K: Tensor) -> Tensor:
        """T = ‖W û‖ for keys in the rows of K (n, d_in), (n,).

        û = C⁻¹k/‖C⁻¹k‖, so scaling C or a key changes nothing; a key of zeros gives nan.
        """
        return (K @ self.G.T).norm(dim=1) / (K @ self.P).norm(dim=1)

    def outputs(self, K: Tensor) -> Tensor:
        """W û for keys in the rows of K (n, d_in), (n, d_out): the vectors of `norms`."""
        return (K @ self.G.T) / (K @ self.P).norm(dim=1, keepdim=True)


def filter_of(W: Tensor, C: Tensor, damping: float = DAMPING) -> Filter:
    """The filter of a matrix W (d_out, d_in) whose keys have the second moment C (d_in, d_in).

    damping  multiple of the mean eigenvalue that is added to the diagonal of C

    Raises ForensicsError where C is not positive definite with this damping.
    """
    damped = C.float() + damping * C.diagonal().mean() * torch.eye(len(C))
    try:
        P = torch.cholesky_inverse(memory.Moment(damped).factor)
    except ValueError as error:
        raise ForensicsError(str(error)) from None
    return Filter(P, W.float().cpu() @ P)


def robust_z(values: Tensor, left: Tensor | None = None) -> Tensor:
    """Distances from the median over 1.4826 times the median absolute distance, (n,).

    left  (n,) bool: values that take no part; they get 0. Where all others are equal, all get 0.

    robust_z([1, 2, 3, 100]) -> [-1.0, -0.3, 0.3, 65.8] with the median 2.5
    """
    here = torch.ones(len(values), dtype=torch.bool) if left is None else ~left
    z = torch.zeros(len(values))
    if not here.any():
        return z
    given = values[here].double()
    away = given - given.quantile(0.5)
    spread = MAD * away.abs().quantile(0.5)
    if spread > 0:
        z[here] = (away / spread).float()
    return z
