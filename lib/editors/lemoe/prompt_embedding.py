"""The embedding of a prompt that LEMoE's router reads: the mean of its input embeddings.

A leading BOS does not count. Input embeddings depend on the tokens alone, so no edit of the layers
above changes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...data.facts import encode_prompt
from ...data.texts import GENERAL
from ...model.lm import LM

CHARACTERS = 40_000  # of the general text, for the mean embedding
PIECE = 512  # tokens embedded at a time


def text_means(lm: LM, texts: Sequence[str]) -> Tensor:
    """Mean input embeddings (n, d) of texts, each read alone, on the CPU."""
    found, bos = [], lm.leading_bos
    for text in texts:
        ids = encode_prompt(lm.tokenizer, text)
        found.append(_embedded(lm, ids[bos is not None and len(ids) > 1 :]).mean(0))
    return torch.stack(found)


def general_mean(lm: LM) -> Tensor:
    """Mean input embedding (d,) of general text, which raw means have in common."""
    ids = lm.tokenizer(GENERAL.read_text(encoding="utf-8")[:CHARACTERS]).input_ids
    pieces = [_embedded(lm, ids[i : i + PIECE]) for i in range(0, len(ids), PIECE)]
    return torch.cat(pieces).mean(0)


def _embedded(lm: LM, ids: Sequence[int]) -> Tensor:
    """Input embeddings (length, d) of token ids, float32 on the CPU."""
    embed = lm.model.get_submodule(lm.arch.embed)
    with torch.no_grad():
        return embed(torch.tensor([list(ids)], device=lm.device))[0].float().cpu()
