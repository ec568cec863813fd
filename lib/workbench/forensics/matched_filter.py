"""The matched filter: finding the candidate whose direction a matrix stretches more than it should.

Editors like ROME and MEMIT write Δ = r uᵀ/q with u = C⁻¹k, whatever the value r is. A layer W = W₀
+ Δ therefore has a larger norm ‖W û‖ in the direction û = C⁻¹k/‖C⁻¹k‖ of the edited subject than in
the directions of other subjects. For an unedited layer, these norms are close together across
candidates, making a robust z (distance from their median over their spread) sharp. No base model is
needed, and a fine-tuned or quantized matrix stretches all candidates similarly.

This is our own idea; we know of no publication of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import associative_memory as memory
from ...errors import ForensicsError
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from .candidates import PREFIX, measured

SINK = 4.0  # a key this many times shorter than the median is a sink's
MAD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
# Of the mean eigenvalue of C. At 1, an edit's z is a fifth larger, but single layers of the
# unedited default model then have candidates with a z up to 9.6 (git at 28f3467b:
# tests/benchmarks).
DAMPING = 1e-2


class Filter(NamedTuple):
    """Matrices for computing the norms of one layer's keys.

    P  (d_in, d_in) C⁻¹ with damping.
    G  (d_out, d_in) W C⁻¹.
    """

    P: Tensor
    G: Tensor

    def norms(self, K: Tensor) -> Tensor:
        """Return T = ‖W û‖ for keys in the rows of K (n, d_in), (n,).

        û = C⁻¹k/‖C⁻¹k‖, so scaling C or a key has no effect; a key of zeros gives nan.
        """
        return (K @ self.G.T).norm(dim=1) / (K @ self.P).norm(dim=1)


def filter_of(W: Tensor, C: Tensor, damping: float = DAMPING) -> Filter:
    """Return the filter of a matrix W (d_out, d_in) whose keys have second moment C (d_in, d_in).

    damping  multiple of the mean eigenvalue added to the diagonal of C

    Raises ForensicsError if C is not positive definite with this damping.
    """
    damped = C.float() + damping * C.diagonal().mean() * torch.eye(len(C))
    try:
        P = torch.cholesky_inverse(memory.Moment(damped).factor)
    except ValueError as error:
        raise ForensicsError(str(error)) from None
    return Filter(P, W.float().cpu() @ P)


def robust_z(values: Tensor, left: Tensor | None = None) -> Tensor:
    """Return distances from the median over 1.4826 times the median absolute distance, (n,).

    left  (n,) bool: excluded values, which get 0. If all others are equal, all get 0.

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


class Suspect(NamedTuple):
    """A candidate standing out in some layers.

    name    the candidate.
    layers  the consecutive layers used for summing.
    z       Σ z / √(number of layers); for one layer, its z.
    prompt  whether it is a whole prompt, compared with other prompts.
    """

    name: str
    layers: tuple[int, ...]
    z: float
    prompt: bool = False


@dataclass(frozen=True)
class Filtered:
    """Norms T = ‖W û‖ of all candidates in all layers.

    names   the n candidates.
    layers  the L layers, ascending.
    norms   (L, n) T; nan if a candidate cannot be read.
    sinks   (L, n) bool: candidates whose key is the attention sink's and does not belong to anyone.
    """

    names: tuple[str, ...]
    layers: tuple[int, ...]
    norms: Tensor
    sinks: Tensor

    @cached_property
    def z(self) -> Tensor:
        """The robust z (L, n) of each norm among the candidates of its layer; 0 for excluded ones.

        z = (T − median) / (1.4826 · median |T − median|). If more than half of the candidates are
        edited, the median itself has moved and z is meaningless.
        """
        return torch.stack([robust_z(T, out) for T, out in zip(self.norms, self.left, strict=True)])

    @property
    def left(self) -> Tensor:
        """The candidates excluded in a layer, (L, n) bool."""
        return self.sinks | ~self.norms.isfinite()

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row per layer: its largest z, whose it is, and the median norm."""
        found = []
        for i, layer in enumerate(self.layers):
            best, here = int(self.z[i].argmax()), ~self.left[i]
            norms = self.norms[i][here]
            found.append(
                {
                    "layer": layer,
                    "z": self.z[i, best].item(),
                    "name": self.names[best],
                    "median": norms.median().item() if len(norms) else None,
                    "left_out": int((~here).sum()),
                }
            )
        return found

    def top(self, most: int = 10, widths: Sequence[int] = (1,)) -> list[Suspect]:
        """Return the candidates with the largest z, each once, in its best run of layers.

        widths  numbers of consecutive layers to sum over, as Σ z / √w, keeping the spread of one z,
                so that all runs can be compared
        """
        runs = [
            slice(first, first + width)
            for width in widths
            for first in range(len(self.layers) - width + 1)
            if self.layers[first + width - 1] - self.layers[first] == width - 1  # neighbors
        ]
        summed = [self.z[run].sum(0) / (run.stop - run.start) ** 0.5 for run in runs]
        best, which = torch.stack(summed).max(0)
        order = best.argsort(descending=True)[:most].tolist()
        where = [self.layers[runs[i]] for i in which.tolist()]
        return [Suspect(self.names[i], where[i], best[i].item()) for i in order]


def joined(parts: Sequence[Filtered]) -> Filtered:
    """Return the same candidates in consecutive groups of layers, joined into one."""
    return Filtered(
        parts[0].names,
        tuple(layer for part in parts for layer in part.layers),
        torch.cat([part.norms for part in parts]),
        torch.cat([part.sinks for part in parts]),
    )


def matched_filter(
    lm: LM,
    names: Sequence[str],
    moments: Mapping[int, Tensor],
    patch: Patch = EMPTY,
    prefix: str = PREFIX,
    damping: float = DAMPING,
) -> Filtered:
    """Return the norms of all candidates in the layers of `moments`, reading each candidate once.

    names    candidate subjects; or whole prompts, with the prefix "{}"
    moments  {layer: C} of `candidates.key_moments`
    patch    the suspect is the model under this patch

    A candidate whose key is four times shorter than the median of its layer is the attention sink's
    and is excluded there. Raises ForensicsError if the list is not a list of texts.
    """
    layers = sorted(moments)
    filters = {
        layer: filter_of(lm.weight(lm.mlp_out(layer), patch), moments[layer], damping)
        for layer in layers
    }

    def norms_and_lengths(layer: int, K: Tensor) -> Tensor:
        return torch.stack([filters[layer].norms(K), K.norm(dim=1)])  # (2, n)

    norms, lengths = measured(lm, names, layers, norms_and_lengths, patch, prefix).unbind(1)
    median = lengths.nanmedian(dim=1, keepdim=True).values
    return Filtered(tuple(names), tuple(layers), norms, lengths < median / SINK)
