"""MEMOIR's fingerprints: a mask over the columns of the residual matrix for each prompt.

A prompt's fingerprint is the set of the module's k inputs that the prompt moves most from their
mean, as a mask of k ones. Similar prompts have similar masks, and the masks of different prompts
overlap little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.facts import encode_prompt
from ...model import activations
from ...model.lm import LM
from ...model.sequences import Sequences


@dataclass(frozen=True)
class Fingerprint:
    """The rule that turns a prompt's mean input into its mask.

    mu     (d_in,) mean input over irrelevant prompts, which is subtracted
    order  (d_in,) the fixed permutation π, which spreads neighboring inputs over the columns
    k      number of ones in a mask
    bos    id that the tokenizer puts in front of a text and that is not counted, None without one
    """

    mu: Tensor
    order: Tensor
    k: int
    bos: int | None = None

    def mask(self, mean: Tensor) -> Tensor:
        """Masks (rows, d_in) bool from mean inputs (rows, d_in).

        f is the mean input less mu, T are the k places of the largest |f|, and the ones stand at
        π(T). k 2, π (1, 2, 3, 0), f (.1, -3, 2, 0) -> T = {1, 2}, the mask (0, 0, 1, 1)
        """
        top = (mean - self.mu.to(mean)).abs().topk(self.k, dim=-1).indices
        mask = torch.zeros(mean.shape, dtype=torch.bool, device=mean.device)
        return mask.scatter(-1, self.order.to(mean.device)[top], True)

    def of(self, inputs: Tensor, seqs: Sequences) -> Tensor:
        """Masks (rows, d_in) bool of the prompts in a call, from inputs (rows, length, d_in)."""
        return self.mask(seqs.prompt_mean(inputs, self.bos))


def means(lm: LM, module: str, texts: Sequence[str], bos: int | None) -> Tensor:
    """Mean inputs (n, d_in) of the module over each text's tokens, without the BOS, float32.

    The texts are read one at a time, so that a text's numbers do not depend on the others, not even
    in the last bit.
    """
    rows = [encode_prompt(lm.tokenizer, text) for text in texts]
    skips = [int(len(ids) > 1 and ids[0] == bos) for ids in rows]
    with torch.no_grad():
        each = [
            activations.module_inputs(lm, [ids], [module], skip)[module].float().mean(0)
            for ids, skip in zip(rows, skips, strict=True)
        ]
    return torch.stack(each).cpu()


def permutation(d_in: int, seed: int) -> Tensor:
    """The permutation π (d_in,) int64 that belongs to a seed."""
    return torch.randperm(d_in, generator=torch.Generator().manual_seed(seed))


def insert(stored: Tensor, masks: Tensor) -> tuple[Tensor, list[int]]:
    """The stored masks with new ones (m, d_in) after them (n, d_in), and each new one's place.

    A mask that is there already is not stored again.
    """
    rows, first = [*stored, *masks], dict[bytes, int]()
    entries = [first.setdefault(row.numpy().tobytes(), len(first)) for row in rows]
    kept = dict(zip(entries, rows, strict=True))  # equal masks are one entry
    return torch.stack([*kept.values()]), entries[len(stored) :]
