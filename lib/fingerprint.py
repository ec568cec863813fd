"""MEMOIR's route: a residual matrix beside one module, and fingerprints that say who may use it.

A fingerprint is the set of the k inputs of the module that a prompt moves most. It chooses the
columns of the residual matrix that an edit writes and that a query reads, so that edits share few
columns, and a query is answered only where its own fingerprint overlaps a stored one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from . import inside
from .facts import Case, encode_prompt
from .patch import Route
from .readers import classroom
from .side import Score

if TYPE_CHECKING:
    from .lm import LM
    from .sequences import Sequences


@dataclass(frozen=True)
class Fingerprint:
    """How the mask of a prompt is made.

    mu (d_in,): mean input over irrelevant prompts, which is taken off. order (d_in,): the fixed
    permutation π. k: ones per mask. bos: the id that the tokenizer puts in front, None without one;
    its input is huge and the same everywhere, so it is not counted.
    """

    mu: Tensor
    order: Tensor
    k: int
    bos: int | None = None

    def mask(self, mean: Tensor) -> Tensor:
        """(rows, d_in) bool from mean inputs (rows, d_in): ones at π(T), T the k largest |f|.

        k 2, π (1, 2, 3, 0), f (.1, -3, 2, 0): T = {1, 2}, the mask is (0, 0, 1, 1)
        """
        top = (mean - self.mu.to(mean)).abs().topk(self.k, dim=-1).indices
        mask = torch.zeros(mean.shape, dtype=torch.bool, device=mean.device)
        return mask.scatter(-1, self.order.to(mean.device)[top], True)

    def of(self, inputs: Tensor, seqs: Sequences) -> Tensor:
        """Masks (rows, d_in) of the prompts in a call, from inputs (rows, length, d_in)."""
        counted = Score(bos=self.bos).counted(seqs.ids, seqs.real, seqs.prompt).to(inputs.device)
        total = inputs.new_zeros(len(inputs), inputs.shape[-1], dtype=torch.float32)
        total.index_add_(0, counted.nonzero()[:, 0], inputs[counted].float())
        return self.mask(total / counted.sum(1, keepdim=True))


class Residual(Route):
    """W_m beside a module: a row whose mask overlaps a stored mask gets W₀ a + W_m (m ⊙ a).

    The stored mask m with the largest overlap |q ∧ m| / k answers where that reaches tau, at all
    real positions, later ones too. A row without keeps the module's own output, bit for bit.
    """

    kind = "memoir"
    axes = ("overlap with the nearest stored mask", "threshold")

    def __init__(
        self, module: str, W: Tensor, masks: Tensor, prints: Fingerprint, tau: float
    ) -> None:
        self.module, self.prints, self.tau = module, prints, tau
        self.W, self.masks = W, masks  # (d_out, d_in) float32; (n, ⌈d_in / 8⌉) bytes
        self._there: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """W_m, and the masks (n, d_in) as numbers, where the module runs; copied once."""
        if device not in self._there:
            masks = unpack_rows(self.masks, self.W.shape[1]).to(device).float()
            self._there[device] = self.W.to(device), masks
        return self._there[device]

    def overlaps(self, query: Tensor) -> Tensor:
        """|q ∧ m_j| / k (rows, n) of masks (rows, d_in): one product for all stored masks."""
        return query.float() @ self.on(query.device)[1].T / self.prints.k

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """(rows,) int64: the stored mask that each prompt overlaps most, -1 under the threshold."""
        if inputs.shape[1] != seqs.ids.shape[1]:
            raise RuntimeError("a prompt must be run whole: some of its tokens are not in the call")
        share, entry = best(self.overlaps(self.prints.of(inputs, seqs)))
        seqs.memo[f"{self.module}/score"] = share
        seqs.memo[f"{self.module}/threshold"] = torch.full_like(share, self.tau)
        return torch.where(share >= self.tau, entry, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """The output with W_m (m ⊙ a) added in the rows that chose a mask; else the same tensor."""
        if not bool((choice >= 0).any()):
            return output
        W, masks = self.on(output.device)
        length = output.shape[1]  # a replay runs the last columns only
        here = (choice >= 0)[:, None] & seqs.real[:, -length:]
        row = here.nonzero()[:, 0]
        moved = (inputs[here].float() * masks[choice[row]]) @ W.T
        output = output.clone()
        output[here] = (output[here].float() + moved).to(output.dtype)
        return output

    def explain(self, choice: Tensor) -> list[dict]:
        """Which mask; the best overlap (score) and tau (threshold) stand beside it."""
        return [{"entry": entry} for entry in choice.tolist()]

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
        if W.dtype != torch.float32 or not all(torch.isfinite(part).all() for part in (W, mu)):
            raise ValueError(f"the residual matrix of {name} holds no finite float32 numbers")
        return cls(name, W, masks, Fingerprint(mu, order, k, header["bos"]), float(header["tau"]))


def best(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each row (rows,) and where it stands, at the smallest index among equals.

    (.2, .5, .5) -> .5 at 1
    """
    share = overlaps.max(1).values
    places = torch.arange(overlaps.shape[1], device=overlaps.device)
    first = torch.where(overlaps == share[:, None], places, len(places)).min(1).values
    return share, first


def means(lm: LM, module: str, texts: Sequence[str], bos: int | None) -> Tensor:
    """Mean input of the module over each text's tokens, without the BOS: (n, d_in) float32.

    One text at a time: its numbers do not depend on the texts beside it, not in the last bit.
    """
    found = []
    with torch.no_grad():
        for ids in (encode_prompt(lm.tokenizer, text) for text in texts):
            skip = int(len(ids) > 1 and ids[0] == bos)
            found.append(inside.inputs(lm, [ids], [module], skip)[module].float().mean(0))
    return torch.stack(found).cpu()


def permutation(d_in: int, seed: int) -> Tensor:
    """π (d_in,) int64, always the same for a seed."""
    return torch.randperm(d_in, generator=torch.Generator().manual_seed(seed))


def calibration_cases() -> list[Case]:
    """The even classroom cases; the odd ones are for reporting."""
    return [case for case in classroom() if case.id % 2 == 0]


def threshold(own: Tensor, unrelated: Tensor) -> float:
    """τ midway between the 10 % quantile of edit–own rewording and the 99 % of edit–unrelated."""
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
    """The stored masks (n, d_in) with new ones behind them, and where each new one stands.

    A mask that is there already is not stored again.
    """
    known = {row.numpy().tobytes(): i for i, row in enumerate(stored)}
    rows, entries = list(stored), []
    for mask in masks:
        entries.append(known.setdefault(mask.numpy().tobytes(), len(rows)))
        rows += [mask] if entries[-1] == len(rows) else []
    return torch.stack(rows), entries
