"""The matched filter: which candidate's direction does a matrix stretch more than it should?

Editors of the ROME and MEMIT kind write Δ = r uᵀ/q with u = C⁻¹k, whatever the value r is. So a
layer W = W₀ + Δ has a larger norm ‖W û‖ in the direction û = C⁻¹k/‖C⁻¹k‖ of the edited subject than
in those of other subjects. Over the candidates of an unedited layer these norms lie close
together, so that a robust z (distance from their median over their spread) is sharp. No base model
is needed, and a fine-tuned or quantized matrix stretches all candidates alike.

The idea is this project's; we know of no publication of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..keys_values.stretch import DAMPING, filter_of, robust_z
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .candidates import PREFIX, keys, rows_of
from .coherence import enough, run_z, whitened

SINK = 4.0  # a key this many times shorter than the median is a sink's


class Suspect(NamedTuple):
    """A candidate that stands out in some layers.

    name    the candidate.
    layers  the consecutive layers that were summed.
    z       Σ z / √(number of layers), with one layer its z; or the z of the summed vectors.
    prompt  whether it is a whole prompt, which was compared with other prompts.
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
    norms   (L, n) T; nan where a candidate cannot be read.
    sinks   (L, n) bool: candidates whose key is the attention sink's, which is nobody's.
    outputs (L, n, d_out) float16 W û about their mean and whitened (`coherence.whitened`), by whose
            lengths layers are compared then, and runs of layers by those of their sums; or None.
    """

    names: tuple[str, ...]
    layers: tuple[int, ...]
    norms: Tensor
    sinks: Tensor
    outputs: Tensor | None = None

    @cached_property
    def z(self) -> Tensor:
        """(L, n) robust z of each norm among the candidates of its layer; 0 for left out ones.

        z = (T − median) / (1.4826 · median |T − median|). With more than half of the candidates
        edited, the median itself has moved and z says nothing.
        """
        return torch.stack([robust_z(T, out) for T, out in zip(self.norms, self.left, strict=True)])

    @property
    def left(self) -> Tensor:
        """(L, n) bool: candidates that take no part in a layer."""
        return self.sinks | ~self.norms.isfinite()

    def rows(self) -> list[dict[str, Any]]:
        """One plain row per layer: its largest z, whose it is, and the median norm."""
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
        """The candidates with the largest z, each once, in its best run of consecutive layers.

        widths  how many consecutive layers may be summed: as vectors where there are outputs, else
                as Σ z / √w, which keeps the spread of one z, so that all runs can be compared
        """
        best = torch.full((len(self.names),), -torch.inf)
        where: list[tuple[int, ...]] = [()] * len(self.names)
        for width in widths:
            for first in range(len(self.layers) - width + 1):
                run = self.layers[first : first + width]
                if run[-1] - run[0] != width - 1:
                    continue  # layers that do not follow each other
                summed = self._summed(slice(first, first + width))
                for i in (summed > best).nonzero().flatten().tolist():
                    where[i] = run
                best = torch.maximum(best, summed)
        order = best.argsort(descending=True)[:most].tolist()
        return [Suspect(self.names[i], where[i], best[i].item()) for i in order]

    def _summed(self, run: slice) -> Tensor:
        """(n,) z of a run of layers."""
        if self.outputs is not None:
            return run_z(self.outputs[run], self.left[run])
        z = self.z[run]
        return z.sum(0) / len(z) ** 0.5


def joined(parts: Sequence[Filtered]) -> Filtered:
    """The same candidates in groups of layers that follow each other, as one."""
    outputs = [part.outputs for part in parts if part.outputs is not None]
    return Filtered(
        parts[0].names,
        tuple(layer for part in parts for layer in part.layers),
        torch.cat([part.norms for part in parts]),
        torch.cat([part.sinks for part in parts]),
        torch.cat(outputs) if len(outputs) == len(parts) else None,
    )


def matched_filter(
    lm: LM,
    names: Sequence[str],
    moments: Mapping[int, Tensor],
    patch: Patch = EMPTY,
    prefix: str = PREFIX,
    damping: float = DAMPING,
    vectors: bool = False,
) -> Filtered:
    """The norms of all candidates in the layers of `moments`, from one reading of the candidates.

    names    candidate subjects; or whole prompts, with the prefix "{}"
    moments  {layer: C} of `candidates.key_moments`
    patch    the suspect is the model under this patch
    vectors  whether layers are compared and summed as vectors (`coherence`), which takes
             6 · L · n · d_out bytes, a third of it kept, and more candidates than outputs

    A candidate whose key is four times shorter than the median of its layer is the attention
    sink's and takes no part there. Raises ForensicsError for a list that is no list of texts, and
    for one that is too short for vectors.
    """
    layers = sorted(moments)
    if vectors:
        enough(len(names), max(len(lm.weight(lm.mlp_out(layer))) for layer in layers))
    filters = {
        layer: filter_of(lm.weight(lm.mlp_out(layer), patch), moments[layer], damping)
        for layer in layers
    }
    rows = rows_of(lm, names, prefix)
    norms = torch.empty(len(layers), len(rows))
    lengths = torch.empty_like(norms)
    outputs = [torch.empty(len(rows), len(filters[layer].G)) for layer in layers if vectors]
    for part, read in keys(lm, rows, layers, patch):
        for i, layer in enumerate(layers):
            norms[i, part] = filters[layer].norms(read[layer])
            lengths[i, part] = read[layer].norm(dim=1)
            if vectors:
                outputs[i][part] = filters[layer].outputs(read[layer])
    median = lengths.nanmedian(dim=1, keepdim=True).values
    found = Filtered(tuple(names), tuple(layers), norms, lengths < median / SINK)
    if not vectors:
        return found
    return replace(
        found,
        outputs=torch.stack([whitened(Y, out) for Y, out in zip(outputs, found.left, strict=True)]),
    )
