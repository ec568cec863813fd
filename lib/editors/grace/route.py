"""GRACE's route: a codebook for one module, answering near its keys."""

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
    """A codebook applied to one module's output.

    The query is the module's input at the prompt's last token. If it is within the radius of the
    nearest key, that entry's value replaces the module's output; everywhere else the output is
    unchanged, bit for bit.

    K            (d_in, n): keys, float32
    V            (d_out, n): values, float32
    eps          (n,): radii, float32
    replacement  where a value is used: at the prompt's "last" token, at every token of the
                 "prompt", or at "all" later tokens
    """

    kind = "grace"
    parts = {"K": Part("d_in n"), "V": Part("d_out n"), "eps": Part("n")}

    class Header(Schema):
        """The module and the positions of its values."""

        module: str
        replacement: Replacement

    module: str = field()  # without the default of `Route`
    K: Tensor
    V: Tensor
    eps: Tensor
    replacement: Replacement = "last"

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Deferral:
        """Return the route of a file, rejecting an empty codebook, which has no nearest key."""
        if not len(tensors["eps"]):
            raise ValueError("The codebook is empty.")
        return super().from_file(tensors, head)

    def placed(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return K (d_in, n), Vᵀ (n, d_out) and eps (n,) on a device."""
        return self.K.to(device), self.V.T.contiguous().to(device), self.eps.to(device)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return the entry answering each row's prompt, -1 for none; notes distance and radius."""
        first = seqs.ids.shape[1] - inputs.shape[1]  # a replay runs only the last columns
        last = seqs.last.to(inputs.device) - first
        if not bool(((last >= 0) & (last < inputs.shape[1])).all()):
            raise RuntimeError(
                "The prompt's last token is missing from this call. Run the prompt as a whole."
            )
        K, _, eps = self.on(inputs.device)
        found = lookup(K, eps, inputs[torch.arange(len(last), device=last.device), last])
        self.note(seqs, score=found.distance, threshold=found.radius)
        return found.entry

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """Return `output` with the chosen values at their positions, unchanged without any."""
        positions = {"all": seqs.real, "prompt": seqs.prompt, "last": seqs.prompt_end()}
        mask = positions[self.replacement][:, -output.shape[1] :] & (choice >= 0)[:, None]
        if not bool(mask.any()):
            return output
        values = self.on(output.device)[1][choice.clamp(min=0)].to(output.dtype)  # (rows, d_out)
        return torch.where(mask[..., None], values[:, None], output)
