"""GRACE's route: a codebook beside one module, which answers near its keys."""

from __future__ import annotations

import torch
from torch import Tensor

from ...model.sequences import Sequences
from ...patch.route import Route
from ...patch.tensor_file import Schema, check_names, check_tensor, convert
from ..shared.value_search import Replacement
from .codebook import lookup


class DeferralHeader(Schema):
    """The header of a `Deferral` in a patch file."""

    module: str
    replacement: Replacement


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
    axes = ("distance to the nearest key", "its radius")
    within = True

    def __init__(
        self, module: str, K: Tensor, V: Tensor, eps: Tensor, replacement: Replacement = "last"
    ) -> None:
        self.module, self.replacement = module, replacement
        self.K, self.V, self.eps = K, V, eps

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
        """`output` with the chosen values in their places; itself where there are none."""
        places = self.places(seqs)[:, -output.shape[1] :] & (choice >= 0)[:, None]
        if not bool(places.any()):
            return output
        values = self.on(output.device)[1][choice.clamp(min=0)].to(output.dtype)  # (rows, d_out)
        return torch.where(places[..., None], values[:, None], output)

    def places(self, seqs: Sequences) -> Tensor:
        """(rows, L) of this call: the positions that a value answers at."""
        if self.replacement == "all":
            return seqs.real
        if self.replacement == "prompt":
            return seqs.prompt
        columns = torch.arange(seqs.ids.shape[1], device=seqs.ids.device)
        return seqs.prompt & (columns == seqs.last.to(columns.device)[:, None])

    def tensors(self) -> dict[str, Tensor]:
        """Keys, values, radii."""
        return {"K": self.K, "V": self.V, "eps": self.eps}

    def header(self) -> dict:
        """Where it stands."""
        return {"module": self.module, "replacement": self.replacement}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Deferral:
        """The route of a file; ValueError where its parts do not belong together."""
        head = convert(header, DeferralHeader)
        check_names("the codebook", tensors, ("K", "V", "eps"))
        K, V, eps = (tensors[name] for name in ("K", "V", "eps"))
        entries = max(1, eps.numel())  # an empty codebook has no nearest key
        check_tensor("eps", eps, (entries,), torch.float32)
        check_tensor("K", K, (-1, entries), torch.float32)
        check_tensor("V", V, (-1, entries), torch.float32)
        return cls(head.module, K, V, eps, head.replacement)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of keys and values."""
        return self.K.shape[0], self.V.shape[0]
