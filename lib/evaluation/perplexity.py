"""The perplexity of a text: how much an edit has disturbed what the model expects to read."""

from __future__ import annotations

import math

import torch

from ..data.texts import HELD_OUT
from ..model import scoring
from ..model.lm import LM


def perplexity(lm: LM, text: str | None = None, window: int = 256) -> float | None:
    """Perplexity of a text, exp of the mean −log p per token, under what is entered at present.

    text None: the shipped held-out text; None comes back where that file is missing. Read in
    windows of 256 tokens, in each of which the first only starts the rest. Raises ValueError for a
    text of one token.
    """
    if text is None:
        if not HELD_OUT.exists():
            return None
        text = HELD_OUT.read_text(encoding="utf-8")
    ids = lm.tokenizer(text, add_special_tokens=False).input_ids
    lead = [] if lm.leading_bos is None else [lm.leading_bos]
    size = min(window, lm.context or window) - len(lead)
    rows = [lead + ids[i : i + size] for i in range(0, len(ids), size)]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise ValueError("the text for the perplexity needs at least two tokens")
    scores = scoring.score(lm, [row[:1] for row in rows], [row[1:] for row in rows])
    return math.exp(-torch.cat([score.log_probs for score in scores]).mean().item())
