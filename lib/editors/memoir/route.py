"""MEMOIR's route: a residual matrix for one module, read using the stored masks.

Every edit has written only the columns of the residual matrix W_m that its own mask selects
(fingerprint.py), so edits share few columns. A query is answered only if its mask overlaps enough
with a stored mask, and then reads the columns of that stored mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...model.sequences import Sequences
from ...patch.route import Part, Route
from ...patch.tensor_file import Real, Schema, Size, TokenId
from ..shared.routed import add_at, nearest, unpack_bits
from .fingerprint import Fingerprint


class Residual(Route):
    """A residual matrix for one module.

    A prompt with mask q is answered by the stored mask m with the largest overlap |q ∧ m| / k, if
    that overlap reaches tau. The module then outputs W₀ a + W_m (m ⊙ a) at all positions, including
    the generated ones. Any other prompt keeps the module's own output, bit for bit.

    W       (d_out, d_in) float32, the residual matrix W_m
    masks   (n, ⌈d_in / 8⌉) uint8, the stored masks as bits
    prints  the rule for computing a prompt's mask
    tau     the smallest overlap that is answered
    """

    kind = "memoir"
    parts = {
        "mu": Part("d_in"),
        "order": Part("d_in", torch.int64),
        "W": Part("d_out d_in"),
        "masks": Part("n bytes", torch.uint8),
    }

    class Header(Schema):
        """The module, the number of ones in a mask, a BOS to leave out, and the threshold."""

        module: str
        k: Size
        bos: TokenId | None
        tau: Real

    def __init__(
        self, module: str, W: Tensor, masks: Tensor, prints: Fingerprint, tau: float
    ) -> None:
        self.module, self.W, self.masks, self.prints, self.tau = module, W, masks, prints, tau
        self.mu, self.order, self.k, self.bos = prints.mu, prints.order, prints.k, prints.bos

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Residual:
        """Return the route of a file."""
        W, masks, mu, order = (tensors[name] for name in ("W", "masks", "mu", "order"))
        d_in = len(mu)
        if not torch.equal(order.sort().values, torch.arange(d_in)):
            raise ValueError("The order of the columns is not a permutation.")
        if not len(masks) or masks.shape[1] != -(-d_in // 8):
            raise ValueError("Its masks do not belong to its columns.")
        if bool((unpack_bits(masks, d_in).sum(1) != head.k).any()):
            raise ValueError(f"A mask does not have {head.k} ones.")
        return cls(head.module, W, masks, Fingerprint(mu, order, head.k, head.bos), head.tau)

    def placed(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return W_m, and the masks (n, d_in) as float32 numbers, on a device."""
        masks = unpack_bits(self.masks, self.W.shape[1])
        return self.W.to(device), masks.to(device).float()

    def overlaps(self, query: Tensor) -> Tensor:
        """Return overlaps |q ∧ m_j| / k (rows, n) of masks q (rows, d_in) with all masks m_j."""
        return query.float() @ self.on(query.device)[1].T / self.k

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return the stored mask (rows,) int64 that each prompt overlaps most, -1 below tau."""
        share, entry = nearest(self.overlaps(self.prints.of(inputs, seqs)))
        self.note(seqs, score=share, threshold=torch.full_like(share, self.tau))
        return torch.where(share >= self.tau, entry, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """Return the output with W_m (m ⊙ a) added in rows with a mask, else the same tensor."""
        if not bool((choice >= 0).any()):
            return output
        W, masks = self.on(output.device)
        # a partial forward runs only the last columns
        here = (choice >= 0)[:, None] & seqs.real[:, -output.shape[1] :]
        row = here.nonzero()[:, 0]
        # W_m (m ⊙ a), at the real positions of the rows that chose m
        return add_at(output, here, (inputs[here].float() * masks[choice[row]]) @ W.T)


def threshold(own: Tensor, unrelated: Tensor) -> float:
    """Return the threshold τ between paraphrases and unrelated prompts.

    own        (n,) overlaps of edits with their own paraphrases
    unrelated  (n, m) overlaps of edits with unrelated prompts

    τ is midway between the 10% quantile of the former and the 99% quantile of the latter.
    """
    return (own.quantile(0.1) + unrelated.flatten().quantile(0.99)).item() / 2
