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
    rows, bos = [encode_prompt(lm.tokenizer, text) for text in texts], lm.leading_bos
    rows = [ids[bos is not None and len(ids) > 1 :] for ids in rows]
    wide = _embedded(lm, [token for ids in rows for token in ids])
    return torch.stack([part.mean(0) for part in wide.split([len(ids) for ids in rows])])


def general_mean(lm: LM) -> Tensor:
    """Mean input embedding (d,) of general text, which raw means have in common."""
    text = GENERAL.read_text(encoding="utf-8")[:CHARACTERS]
    return _embedded(lm, lm.tokenizer(text).input_ids).mean(0)


def _embedded(lm: LM, ids: Sequence[int]) -> Tensor:
    """Input embeddings (length, d) of token ids, float32 on the CPU."""
    embed, pieces = lm.model.get_submodule(lm.arch.embed), []
    with torch.no_grad():
        for i in range(0, len(ids), PIECE):
            piece = torch.tensor([list(ids[i : i + PIECE])], device=lm.device)
            pieces.append(embed(piece)[0].float().cpu())
    return torch.cat(pieces)
