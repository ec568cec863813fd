"""The perplexity of held-out text, which shows how far an edit disturbs the model as a whole."""

from __future__ import annotations

import math

import torch

from ..data.texts import HELD_OUT
from ..model import scoring
from ..model.lm import LM


def perplexity(lm: LM, text: str | None = None, window: int = 256) -> float | None:
    """The perplexity of a text, exp(mean −log p per token), of the model as it is patched now.

    The text is read in windows of 256 tokens. The first token of a window has nothing before it,
    so it is not scored.

    text  None takes the shipped held-out text; without that file None comes back.

    Raises ValueError for a text of one token.
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
