"""The curvature of a layer's weights in Kronecker form, and the projector on flat directions.

To second order, the harm of a change Δ of W to the text that a layer was read on is E[(gᵀ Δ k)²],
with the layer's inputs k and the loss gradients g of its outputs. K-FAC treats k and g as
independent. The curvature is then A ⊗ S with A = E[k kᵀ] and S = E[g gᵀ], and its eigenvectors are
the outer products u_i v_jᵀ of the eigenvectors of S and A, with curvatures s_i a_j. This gives the
directions in which the loss is flat without any matrix larger than the layer's own. The projector
follows CrispEdit (Ikram et al., 2026). Only tensors are used here, not a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError


@dataclass(frozen=True)
class Curvature:
    """The curvature of a matrix (d_out, d_in), and its flat directions.

    outputs    (d_out, d_out) eigenvectors u_i of S, as columns
    inputs     (d_in, d_in) eigenvectors v_j of A, as columns
    sharpness  (d_out, d_in) the curvature s_i a_j of each direction u_i v_jᵀ
    flat       (d_out, d_in) bool: the directions with a curvature below `threshold`
    threshold  the smallest forbidden curvature

    All arguments of its methods have the type and device of these tensors.
    """

    outputs: Tensor
    inputs: Tensor
    sharpness: Tensor
    flat: Tensor
    threshold: float

    def inside(self, Y: Tensor) -> Tensor:
        """Return the matrix (d_out, d_in) with coordinates Y (d_out, d_in) in flat directions."""
        return self.outputs @ (Y * self.flat) @ self.inputs.T

    def moved(self, Y: Tensor, K: Tensor) -> Tensor:
        """Return U_s (Y ∘ M) U_aᵀ k for each input k of K (…, d_in), not forming `inside(Y)`."""
        return K @ self.inputs @ (Y * self.flat).T @ self.outputs.T

    def project(self, X: Tensor) -> Tensor:
        """Return Π(X) = U_s ((U_sᵀ X U_a) ∘ M) U_aᵀ, the part of X in the flat directions."""
        return self.inside(self.outputs.T @ X @ self.inputs)

    def to(self, place: Tensor) -> Curvature:
        """Return the same curvature in a tensor's type and on its device."""
        outputs, inputs, sharpness = (
            part.to(place) for part in (self.outputs, self.inputs, self.sharpness)
        )
        return Curvature(outputs, inputs, sharpness, self.flat.to(place.device), self.threshold)


Eigen = tuple[Tensor, Tensor]  # eigenvalues in ascending order and eigenvectors as columns


def curvature(A: Tensor | Eigen, S: Tensor | Eigen, energy: float) -> Curvature:
    """Return the curvature A ⊗ S of a matrix, forbidding the sharpest directions with `energy`.

    A       (d_in, d_in) second moment of the inputs, or its eigenvalues and eigenvectors
    S       (d_out, d_out) second moment of the outputs' gradients, or its eigenvalues and
            eigenvectors
    energy  fraction γ, from 0 to 1, of tr A · tr S. The fewest directions that together hold it are
            forbidden, along with all that are as sharp as the least sharp of them. 0 forbids the
            sharpest direction, not none, and 1 all whose curvature is not 0.

    Raises ValueError if every curvature is 0 or not finite.
    """
    (a, inputs), (s, outputs) = (
        torch.linalg.eigh(M) if isinstance(M, Tensor) else M for M in (A, S)
    )
    # E_ij = s_i a_j; rounding makes the smallest eigenvalues slightly negative
    sharpness = torch.outer(s.clamp(min=0), a.clamp(min=0))  # (d_out, d_in)
    steep = sharpness.flatten().sort(descending=True).values
    sums = steep.cumsum(0)
    if not (sums[-1] > 0 and torch.isfinite(sums[-1])):
        raise ArgumentError(
            "The curvature is zero or not finite in every direction. Use another text."
        )
    # the smallest number r of sharpest directions with Σ ≥ γ · total
    r = int(torch.searchsorted(sums, energy * sums[-1])) + 1
    threshold = steep[min(r, len(steep)) - 1].item()
    return Curvature(outputs, inputs, sharpness, sharpness < threshold, threshold)
