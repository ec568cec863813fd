"""GRACE's route: a codebook beside one module, which answers near its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...model.sequences import Sequences
from ...patch.route import Part, Route
from ...patch.tensor_file import Schema
from ..shared.entry_values import Replacement
from .codebook import lookup


@dataclass(eq=False, repr=False)
class Deferral(Route):
    """A codebook behind one module.

    What the module reads at the prompt's last token is the query. Where it lies in the radius of
    the nearest key, that entry's value stands in the place of the module's output; everywhere else
    the output stays as it is, bit for bit.

    K            (d_in, n): keys, float32
    V            (d_out, n): values, float32
    eps          (n,): radii, float32
    replacement  where a value stands: at the prompt's "last" token, at every token of the "prompt",
                 or at "all" that comes
    """

    kind = "grace"
    parts = {"K": Part("d_in n"), "V": Part("d_out n"), "eps": Part("n")}

    class Header(Schema):
        """Where it stands."""

        module: str
        replacement: Replacement

    module: str = field()  # without the default of `Route`
    K: Tensor
    V: Tensor
    eps: Tensor
    replacement: Replacement = "last"

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Deferral:
        """The route of a file; an empty codebook has no nearest key."""
        if not len(tensors["eps"]):
            raise ValueError("the codebook is empty")
        return super().from_file(tensors, head)

    def placed(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """K (d_in, n), Vᵀ (n, d_out) and eps (n,) on a device."""
        return self.K.to(device), self.V.T.contiguous().to(device), self.eps.to(device)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """The entry that each row's prompt falls into, -1 for none; notes distance and radius."""
        first = seqs.ids.shape[1] - inputs.shape[1]  # a replay runs the last columns only
        last = seqs.last.to(inputs.device) - first
        if not bool(((last >= 0) & (last < inputs.shape[1])).all()):
            raise RuntimeError("a prompt must be run whole: its last token is not in this call")
        K, _, eps = self.on(inputs.device)
        found = lookup(K, eps, inputs[torch.arange(len(last), device=last.device), last])
        self.note(seqs, score=found.distance, threshold=found.radius)
        return found.entry

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """`output` with the chosen values at their positions; itself where there are none."""
        positions = {"all": seqs.real, "prompt": seqs.prompt, "last": seqs.prompt_end()}
        mask = positions[self.replacement][:, -output.shape[1] :] & (choice >= 0)[:, None]
        if not bool(mask.any()):
            return output
        values = self.on(output.device)[1][choice.clamp(min=0)].to(output.dtype)  # (rows, d_out)
        return torch.where(mask[..., None], values[:, None], output)
