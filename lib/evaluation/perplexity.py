"""The cost of held-out text for a model: its perplexity, and nats per token of each passage."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..data.texts import HELD_OUT
from ..errors import ArgumentError
from ..model import scoring
from ..model.lm import LM


def perplexity(lm: LM, text: str | None = None, window: int = 256) -> float:
    """Return the perplexity of a text, exp(mean −log p per token), for the model as patched now.

    The text is read in windows of 256 tokens. A window's first token is not scored, because nothing
    precedes it.

    text  None uses the held-out text shipped with the library.

    Raises ValueError for a text of one token.
    """
    if text is None:
        text = HELD_OUT.read_text(encoding="utf-8")
    losses = passage_losses(lm, text, window)
    if not losses:
        raise ArgumentError(
            "The text for the perplexity needs at least two tokens. Use a longer text."
        )
    return math.exp(torch.cat(losses).mean().item())


def passage_losses(lm: LM, text: str, tokens: int, least: float = 0.0) -> list[Tensor]:
    """Return −log p of a text's tokens, in nats, reading each passage individually.

    tokens  Length of a passage, at most the context; its first token is not scored.
    least   A last passage is left out unless it is longer than this fraction of the others.
    """
    ids = lm.tokenizer(text, add_special_tokens=False).input_ids
    rows = lm.windows(ids, tokens)
    rows = [row for row in rows if len(row) > max(1, least * len(rows[0]))]
    found = scoring.score(lm, [row[:1] for row in rows], [row[1:] for row in rows])
    return [-scores.log_probs for scores in found]
