"""What held-out text costs a model: its perplexity, and the nats per token of each passage."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..data.texts import HELD_OUT
from ..errors import ArgumentError
from ..model import scoring
from ..model.lm import LM


def perplexity(lm: LM, text: str | None = None, window: int = 256) -> float:
    """The perplexity of a text, exp(mean −log p per token), of the model as it is patched now.

    The text is read in windows of 256 tokens. The first token of a window has nothing before it,
    so it is not scored.

    text  None takes the shipped held-out text.

    Raises ValueError for a text of one token.
    """
    if text is None:
        text = HELD_OUT.read_text(encoding="utf-8")
    losses = passage_losses(lm, text, window)
    if not losses:
        raise ArgumentError("the text for the perplexity needs at least two tokens")
    return math.exp(torch.cat(losses).mean().item())


def passage_losses(lm: LM, text: str, tokens: int, least: float = 0.0) -> list[Tensor]:
    """−log p of the tokens of each passage of a text, in nats, each passage read by itself.

    tokens  Length of a passage, at most the context; its first token is not scored.
    least   A last passage that is not longer than this share of the others is left out.
    """
    ids = lm.tokenizer(text, add_special_tokens=False).input_ids
    rows = lm.windows(ids, tokens)
    rows = [row for row in rows if len(row) > max(1, least * len(rows[0]))]
    found = scoring.score(lm, [row[:1] for row in rows], [row[1:] for row in rows])
    return [-scores.log_probs for scores in found]
