"""MEMOIR's route: a residual matrix beside one module, and the fingerprints of what it stores.

A prompt's fingerprint is the set of the module's k inputs that the prompt moves most from their
mean, as a mask over the columns of the residual matrix W_m. An edit writes only the columns in its
own mask, so edits share few columns. A query is answered only where its mask overlaps a stored one,
and then reads the columns of that stored mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.facts import Case, encode_prompt
from ...data.readers import classroom
from ...model import activations
from ...model.lm import LM
from ...model.sequences import Sequences
from ...patch.route import Route


@dataclass(frozen=True)
class Fingerprint:
    """How the mask of a prompt is made.

    mu     (d_in,): mean input over irrelevant prompts, which is subtracted
    order  (d_in,): the fixed permutation π, which spreads neighboring inputs over the columns
    k      number of ones in a mask
    bos    the id that the tokenizer puts in front, None without one; it is not counted
    """

    mu: Tensor
    order: Tensor
    k: int
    bos: int | None = None

    def mask(self, mean: Tensor) -> Tensor:
        """Masks (rows, d_in) bool from mean inputs (rows, d_in).

        f is the mean input less mu, T the k places of the largest |f|; the ones stand at π(T).
        k 2, π (1, 2, 3, 0), f (.1, -3, 2, 0): T = {1, 2}, the mask is (0, 0, 1, 1)
        """
        top = (mean - self.mu.to(mean)).abs().topk(self.k, dim=-1).indices
        mask = torch.zeros(mean.shape, dtype=torch.bool, device=mean.device)
        return mask.scatter(-1, self.order.to(mean.device)[top], True)

    def of(self, inputs: Tensor, seqs: Sequences) -> Tensor:
        """Masks (rows, d_in) bool of the prompts in a call, from inputs (rows, length, d_in)."""
        return self.mask(seqs.prompt_mean(inputs, self.bos))


class Residual(Route):
    """A residual matrix beside one module.

    Of the stored masks m, the one with the largest overlap |q ∧ m| / k with a prompt's mask q
    answers, where that reaches tau. The module puts out W₀ a + W_m (m ⊙ a) at all positions then,
    the generated ones too. Any other prompt keeps the module's own output, bit for bit.

    W       (d_out, d_in) float32: the residual matrix W_m
    masks   (n, ⌈d_in / 8⌉) uint8: the stored masks, packed (`pack_rows`)
    prints  how a mask is made
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
        """W_m, and the masks (n, d_in) as numbers, on a device."""
        masks = unpack_rows(self.masks, self.W.shape[1])
        return self.W.to(device), masks.to(device).float()

    def overlaps(self, query: Tensor) -> Tensor:
        """|q ∧ m_j| / k (rows, n) of masks q (rows, d_in) with all stored masks, in one product."""
        return query.float() @ self.on(query.device)[1].T / self.prints.k

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """(rows,) int64: the stored mask that each prompt overlaps most, -1 below tau."""
        share, entry = best(self.overlaps(self.prints.of(inputs, seqs)))
        self.note(seqs, score=share, threshold=torch.full_like(share, self.tau))
        return torch.where(share >= self.tau, entry, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """The output with W_m (m ⊙ a) added in the rows that chose a mask; else the same tensor."""
        if not bool((choice >= 0).any()):
            return output
        W, masks = self.on(output.device)
        length = output.shape[1]  # a replay runs the last columns only
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
        """Where it stands, how many ones a mask has, and the threshold."""
        kept = self.prints
        return {"module": self.module, "k": kept.k, "bos": kept.bos, "tau": self.tau}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Residual:
        """The route of a file; ValueError where its parts do not belong together."""
        W, masks, mu, order = (tensors[name] for name in ("W", "masks", "mu", "order"))
        name, k = str(header["module"]), int(header["k"])
        d_in = mu.numel()
        if W.ndim != 2 or W.shape[1] != d_in or masks.ndim != 2 or masks.dtype != torch.uint8:
            raise ValueError(f"the residual matrix of {name} has parts of different sizes")
        if not torch.equal(order.sort().values, torch.arange(d_in)):
            raise ValueError(f"the order of the columns of {name} is no permutation")
        if masks.shape[1] != -(-d_in // 8) or bool((unpack_rows(masks, d_in).sum(1) != k).any()):
            raise ValueError(f"a mask of {name} does not have {k} ones")
        cls.check_finite(f"the residual matrix of {name}", W, mu)
        return cls(name, W, masks, Fingerprint(mu, order, k, header["bos"]), float(header["tau"]))


def best(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """The largest overlap of each row (rows,) and its mask; ties: the smallest index.

    (.2, .5, .5) -> .5 at 1
    """
    share = overlaps.max(1).values
    places = torch.arange(overlaps.shape[1], device=overlaps.device)
    first = torch.where(overlaps == share[:, None], places, len(places)).min(1).values
    return share, first


def means(lm: LM, module: str, texts: Sequence[str], bos: int | None) -> Tensor:
    """(n, d_in) float32: the mean input of the module over each text's tokens, without the BOS.

    The texts are read one at a time, so that a text's numbers do not depend on the others, not even
    in the last bit.
    """
    found = []
    with torch.no_grad():
        for ids in (encode_prompt(lm.tokenizer, text) for text in texts):
            skip = int(len(ids) > 1 and ids[0] == bos)
            found.append(
                activations.module_inputs(lm, [ids], [module], skip)[module].float().mean(0)
            )
    return torch.stack(found).cpu()


def permutation(d_in: int, seed: int) -> Tensor:
    """π (d_in,) int64, always the same for a seed."""
    return torch.randperm(d_in, generator=torch.Generator().manual_seed(seed))


def calibration_cases() -> list[Case]:
    """The even classroom cases; the odd ones are for reporting."""
    return [case for case in classroom() if case.id % 2 == 0]


def threshold(own: Tensor, unrelated: Tensor) -> float:
    """τ from overlaps of edits with their own rewordings (n,) and with unrelated prompts (n, m).

    It lies midway between the 10 % quantile of the former and the 99 % quantile of the latter.
    """
    return (own.quantile(0.1) + unrelated.flatten().quantile(0.99)).item() / 2


def pack_rows(masks: Tensor) -> Tensor:
    """(n, ⌈d_in / 8⌉) bytes of bool masks (n, d_in), the first entry in the lowest bit."""
    bits = F.pad(masks, (0, -masks.shape[1] % 8)).unflatten(1, (-1, 8)).to(torch.uint8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(2, dtype=torch.uint8)


def unpack_rows(packed: Tensor, d_in: int) -> Tensor:
    """The masks (n, d_in) that `pack_rows` was given."""
    bits = (packed[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.flatten(1)[:, :d_in].bool()


def insert(stored: Tensor, masks: Tensor) -> tuple[Tensor, list[int]]:
    """The stored masks (n, d_in) with new ones after them, and the place of each new one.

    A mask that is there already is not stored again.
    """
    known = {row.numpy().tobytes(): i for i, row in enumerate(stored)}
    rows, entries = list(stored), []
    for mask in masks:
        entry = known.setdefault(mask.numpy().tobytes(), len(rows))
        if entry == len(rows):  # a new one
            rows.append(mask)
        entries.append(entry)
    return torch.stack(rows), entries
