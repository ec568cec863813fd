"""What stands for a prompt in LEMoE: a mean over its tokens, without padding and a leading BOS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .facts import encode_prompt
from .lm import LM
from .sequences import Sequences
from .side import Score
from .texts import GENERAL

CHARACTERS = 40_000  # of the general text, for the mean embedding
PIECE = 512  # tokens embedded at a time


def leading_bos(lm: LM) -> int | None:
    """The id that the tokenizer puts in front, None where it puts none."""
    bos = lm.tokenizer.bos_token_id
    leads = bos is not None and encode_prompt(lm.tokenizer, "a")[0] == bos
    return bos if leads else None


def prompt_means(wide: Tensor, seqs: Sequences, bos: int | None) -> Tensor:
    """(rows, width) float32: means of wide (rows, length, width) over the tokens that count."""
    if wide.shape[1] != seqs.ids.shape[1] or not bool(seqs.prompt.any(1).all()):
        raise RuntimeError("a prompt must be run whole: a part of it is not in this call")
    counted = Score(bos=bos).counted(seqs.ids, seqs.real, seqs.prompt).to(wide.device)
    total = wide.new_zeros(len(wide), wide.shape[-1], dtype=torch.float32)
    total.index_add_(0, counted.nonzero()[:, 0], wide[counted].float())
    return total / counted.sum(1, keepdim=True)


def text_means(lm: LM, texts: Sequence[str]) -> Tensor:
    """(n, d) on the CPU: mean input embeddings of prompts, each read alone."""
    found, bos = [], leading_bos(lm)
    for text in texts:
        ids = encode_prompt(lm.tokenizer, text)
        found.append(_embedded(lm, ids[bos is not None and len(ids) > 1 :]).mean(0))
    return torch.stack(found)


def general_mean(lm: LM) -> Tensor:
    """(d,): the mean input embedding of general text, which raw means have in common."""
    ids = lm.tokenizer(GENERAL.read_text(encoding="utf-8")[:CHARACTERS]).input_ids
    pieces = [_embedded(lm, ids[i : i + PIECE]) for i in range(0, len(ids), PIECE)]
    return torch.cat(pieces).mean(0)


def _embedded(lm: LM, ids: Sequence[int]) -> Tensor:
    embed = lm.model.get_submodule(lm.arch.embed)
    with torch.no_grad():
        return embed(torch.tensor([list(ids)], device=lm.device))[0].float().cpu()
