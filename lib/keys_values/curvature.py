"""The curvature of a layer's weights in Kronecker form, and the projector on flat directions.

How much a change Δ of W harms the text that a layer was read on is, to second order, E[(gᵀ Δ k)²]
with the layer's inputs k and the loss gradients g of its outputs. K-FAC takes k and g as
independent. Then the curvature is A ⊗ S with A = E[k kᵀ] and S = E[g gᵀ], and its eigenvectors are
the outer products u_i v_jᵀ of those of S and of A, with curvatures s_i a_j. So the directions in
which the loss is flat are known without any matrix larger than the layer's own. The projector is
that of CrispEdit (Ikram et al., 2026). There is no model here, only tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError


@dataclass(frozen=True)
class Curvature:
    """The curvature of a matrix (d_out, d_in), and which of its directions are flat.

    outputs    (d_out, d_out) eigenvectors u_i of S, as columns
    inputs     (d_in, d_in) eigenvectors v_j of A, as columns
    sharpness  (d_out, d_in) the curvature s_i a_j of each direction u_i v_jᵀ
    flat       (d_out, d_in) bool: the directions with a curvature below `threshold`
    threshold  the least curvature that is forbidden

    All that is given to its methods is in the type and on the device of these tensors.
    """

    outputs: Tensor
    inputs: Tensor
    sharpness: Tensor
    flat: Tensor
    threshold: float

    def inside(self, Y: Tensor) -> Tensor:
        """The matrix (d_out, d_in) with coordinates Y (d_out, d_in) along the flat directions."""
        return self.outputs @ (Y * self.flat) @ self.inputs.T

    def moved(self, Y: Tensor, K: Tensor) -> Tensor:
        """U_s (Y ∘ M) U_aᵀ k for each input k of K (…, d_in), without the matrix `inside(Y)`."""
        return K @ self.inputs @ (Y * self.flat).T @ self.outputs.T

    def project(self, X: Tensor) -> Tensor:
        """Π(X) = U_s ((U_sᵀ X U_a) ∘ M) U_aᵀ, the part of X in the flat directions."""
        return self.inside(self.outputs.T @ X @ self.inputs)

    def to(self, place: Tensor) -> Curvature:
        """The same curvature in the type and on the device of a tensor."""
        outputs, inputs, sharpness = (
            part.to(place) for part in (self.outputs, self.inputs, self.sharpness)
        )
        return Curvature(outputs, inputs, sharpness, self.flat.to(place.device), self.threshold)


Eigen = tuple[Tensor, Tensor]  # eigenvalues in ascending order and eigenvectors as columns


def curvature(A: Tensor | Eigen, S: Tensor | Eigen, energy: float) -> Curvature:
    """The curvature A ⊗ S of a matrix, whose sharpest directions with `energy` are forbidden.

    A       (d_in, d_in) second moment of the inputs, or its eigenvalues and eigenvectors
    S       (d_out, d_out) second moment of the outputs' gradients, or the same of it
    energy  share γ, from 0 to 1, of tr A · tr S. The fewest directions that hold it together are
            forbidden, and with them all as sharp as the least sharp of them. 0 forbids the
            sharpest direction, not none, and 1 all whose curvature is not 0.

    Raises ValueError when every curvature is 0 or not finite.
    """
    (a, inputs), (s, outputs) = (
        torch.linalg.eigh(M) if isinstance(M, Tensor) else M for M in (A, S)
    )
    # E_ij = s_i a_j; rounding makes the least eigenvalues a little negative
    sharpness = torch.outer(s.clamp(min=0), a.clamp(min=0))  # (d_out, d_in)
    steep = sharpness.flatten().sort(descending=True).values
    sums = steep.cumsum(0)
    if not (sums[-1] > 0 and torch.isfinite(sums[-1])):
        raise ArgumentError("the curvature is zero or not finite in every direction")
    # the least count r of sharpest directions with Σ ≥ γ · total
    r = int(torch.searchsorted(sums, energy * sums[-1])) + 1
    threshold = steep[min(r, len(steep)) - 1].item()
    return Curvature(outputs, inputs, sharpness, sharpness < threshold, threshold)
