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
    """The rule for turning a prompt's mean input into its mask.

    mu     (d_in,) mean input over irrelevant prompts, which is subtracted
    order  (d_in,) the fixed permutation π, spreading neighboring inputs over the columns
    k      number of ones in a mask
    bos    id of a token prepended by the tokenizer, excluded when counting; None without one
    """

    mu: Tensor
    order: Tensor
    k: int
    bos: int | None = None

    def mask(self, mean: Tensor) -> Tensor:
        """Return masks (rows, d_in), bool, from mean inputs (rows, d_in).

        f is the mean input minus mu, T are the k places of the largest |f|, and the ones are at
        π(T). k 2, π (1, 2, 3, 0), f (.1, -3, 2, 0) -> T = {1, 2}, the mask (0, 0, 1, 1)
        """
        top = (mean - self.mu.to(mean)).abs().topk(self.k, dim=-1).indices
        mask = torch.zeros(mean.shape, dtype=torch.bool, device=mean.device)
        return mask.scatter(-1, self.order.to(mean.device)[top], True)

    def of(self, inputs: Tensor, seqs: Sequences) -> Tensor:
        """Return masks (rows, d_in), bool, of the prompts, from inputs (rows, length, d_in)."""
        return self.mask(seqs.prompt_mean(inputs, self.bos))


def means(lm: LM, module: str, texts: Sequence[str], bos: int | None) -> Tensor:
    """Return mean inputs (n, d_in) of the module over each text's tokens, without the BOS, float32.

    The texts are read one at a time, so a text's numbers do not depend on the others, not even in
    the last bit.
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
    """Return the permutation π (d_in,) int64 for a seed."""
    return torch.randperm(d_in, generator=torch.Generator().manual_seed(seed))


def insert(stored: Tensor, masks: Tensor) -> tuple[Tensor, list[int]]:
    """Return the stored masks with new ones (m, d_in) after them (n, d_in), and the new places.

    A mask that already exists is not stored again.
    """
    rows, first = [*stored, *masks], dict[bytes, int]()
    entries = [first.setdefault(row.numpy().tobytes(), len(first)) for row in rows]
    kept = dict(zip(entries, rows, strict=True))  # equal masks are one entry
    return torch.stack([*kept.values()]), entries[len(stored) :]
