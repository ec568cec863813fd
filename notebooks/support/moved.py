"""How far an edit moves the answers to prompts that nobody edited.

The next token alone is a poor measure of that. Where a model puts its answer into quotation marks,
the next token is the quotation mark, and the word behind it can change unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import lib
from lib.model import generation


class Moved(NamedTuple):
    """One prompt before and after an edit.

    before  The first tokens of the base model's answer, as text.
    after   The same of the edited model.
    kl      KL(base ‖ edited) in nats, summed over the tokens of the base model's answer. At each of
            them both models have read the prompt and the base model's answer so far.
    """

    before: str
    after: str
    kl: float


def answers(
    lm: lib.LM, prompts: Sequence[str], patch: lib.Patch, tokens: int = 4
) -> dict[str, Moved]:
    """{prompt: Moved} for the first `tokens` tokens of each answer."""
    rows, _ = lm.rows(list(prompts))
    with lm.patched(lib.EMPTY, only=True):
        said = generation.generate(lm, rows, tokens).ids
        base = [_predictions(lm, row, ids) for row, ids in zip(rows, said, strict=True)]
    with lm.patched(patch):
        says = generation.generate(lm, rows, tokens).ids
        edited = [_predictions(lm, row, ids) for row, ids in zip(rows, said, strict=True)]
    # Σ over tokens t of the answer, Σ over words w of p_t(w) · (log p_t(w) − log p'_t(w))
    kl = [(p.exp() * (p - q)).sum().item() for p, q in zip(base, edited, strict=True)]
    texts = zip(lm.texts(rows, said), lm.texts(rows, says), kl, strict=True)
    return {prompt: Moved(*found) for prompt, found in zip(prompts, texts, strict=True)}


def _predictions(lm: lib.LM, row: list[int], said: list[int]) -> Tensor:
    """Log-probabilities (tokens of the answer, vocabulary) from which its tokens are chosen."""
    logits = lm.run([[*row, *said]]).logits[0].float()
    return torch.log_softmax(logits[len(row) - 1 :][: max(len(said), 1)], -1)
