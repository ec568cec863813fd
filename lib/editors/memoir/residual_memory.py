"""MEMOIR's route: a residual matrix beside one module, read through the masks that are stored.

Every edit has written only the columns of the residual matrix W_m that its own mask chooses
(fingerprint.py), so edits share few columns. A query is answered only where its mask overlaps a
stored one enough, and then it reads the columns of that stored mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.facts import Case
from ...data.readers import classroom
from ...model.sequences import Sequences
from ...patch.route import Route
from ...patch.tensor_file import Real, Schema, Size, TokenId, check_names, check_tensor, convert
from .fingerprint import Fingerprint, unpack_rows


class ResidualHeader(Schema):
    """The header of a `Residual` in a patch file."""

    module: str
    k: Size
    bos: TokenId | None
    tau: Real


class Residual(Route):
    """A residual matrix beside one module.

    A prompt with mask q is answered by the stored mask m with the largest overlap |q ∧ m| / k,
    where that overlap reaches tau. The module then puts out W₀ a + W_m (m ⊙ a) at all positions,
    the generated ones too. Any other prompt keeps the module's own output, bit for bit.

    W       (d_out, d_in) float32, the residual matrix W_m
    masks   (n, ⌈d_in / 8⌉) uint8, the stored masks, packed (`fingerprint.pack_rows`)
    prints  the rule that makes a prompt's mask
    tau     the least overlap that is answered
    """

    kind = "memoir"
    axes = ("overlap with the nearest stored mask", "threshold")

    def __init__(
        self, module: str, W: Tensor, masks: Tensor, prints: Fingerprint, tau: float
    ) -> None:
        self.module, self.prints, self.tau = module, prints, tau
        self.W, self.masks = W, masks

    def placed(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """W_m, and the masks (n, d_in) as float32 numbers, on a device."""
        masks = unpack_rows(self.masks, self.W.shape[1])
        return self.W.to(device), masks.to(device).float()

    def overlaps(self, query: Tensor) -> Tensor:
        """Overlaps |q ∧ m_j| / k (rows, n) of masks q (rows, d_in) with all stored masks m_j."""
        return query.float() @ self.on(query.device)[1].T / self.prints.k

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """The stored mask (rows,) int64 that each prompt overlaps most, -1 below tau."""
        share, entry = best(self.overlaps(self.prints.of(inputs, seqs)))
        self.note(seqs, score=share, threshold=torch.full_like(share, self.tau))
        return torch.where(share >= self.tau, entry, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """The output with W_m (m ⊙ a) added in the rows that chose a mask; else the same tensor."""
        if not bool((choice >= 0).any()):
            return output
        W, masks = self.on(output.device)
        length = output.shape[1]  # a partial forward runs the last columns only
        here = (choice >= 0)[:, None] & seqs.real[:, -length:]
        row = here.nonzero()[:, 0]
        # W_m (m ⊙ a), at the real positions of the rows that chose m
        moved = (inputs[here].float() * masks[choice[row]]) @ W.T
        output = output.clone()
        output[here] = (output[here].float() + moved).to(output.dtype)
        return output

    def tensors(self) -> dict[str, Tensor]:
        """W_m, packed masks, μ and π."""
        return {"W": self.W, "masks": self.masks, "mu": self.prints.mu, "order": self.prints.order}

    def header(self) -> dict:
        """Its module, the number of ones in a mask, the BOS and the threshold."""
        kept = self.prints
        return {"module": self.module, "k": kept.k, "bos": kept.bos, "tau": self.tau}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Residual:
        """The route of a file; ValueError where its parts do not belong together."""
        head = convert(header, ResidualHeader)
        names = ("W", "masks", "mu", "order")
        check_names("the residual matrix", tensors, names)
        W, masks, mu, order = (tensors[name] for name in names)
        d_in = mu.numel()
        check_tensor("mu", mu, (d_in,), torch.float32)
        check_tensor("W", W, (-1, d_in), torch.float32)
        check_tensor("the order of the columns", order, (d_in,), torch.int64)
        check_tensor("the masks", masks, (max(1, len(masks)), -(-d_in // 8)), torch.uint8)
        if not torch.equal(order.sort().values, torch.arange(d_in)):
            raise ValueError("the order of the columns is no permutation")
        if bool((unpack_rows(masks, d_in).sum(1) != head.k).any()):
            raise ValueError(f"a mask does not have {head.k} ones")
        return cls(head.module, W, masks, Fingerprint(mu, order, head.k, head.bos), head.tau)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of inputs and outputs of W_m."""
        return self.W.shape[1], self.W.shape[0]


def best(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """The largest overlap (rows,) of each row of (rows, n), and the mask that has it (rows,).

    Among equals it is the mask with the smallest index. (.2, .5, .5) -> .5 at 1
    """
    share = overlaps.max(1).values
    places = torch.arange(overlaps.shape[1], device=overlaps.device)
    first = torch.where(overlaps == share[:, None], places, len(places)).min(1).values
    return share, first


def calibration_cases() -> list[Case]:
    """The even classroom cases; the odd ones are for reporting."""
    return [case for case in classroom() if case.id % 2 == 0]


def threshold(own: Tensor, unrelated: Tensor) -> float:
    """The threshold τ between rewordings and unrelated prompts.

    own        (n,) overlaps of edits with their own rewordings
    unrelated  (n, m) overlaps of edits with unrelated prompts

    τ lies midway between the 10 % quantile of the former and the 99 % quantile of the latter.
    """
    return (own.quantile(0.1) + unrelated.flatten().quantile(0.99)).item() / 2
