"""How far an edit moves the answers to prompts that nobody edited, in nats.

The next token alone is a poor measure of that. Where a model puts its answer into quotation marks,
the next token is the quotation mark, and the word behind it can change unseen. But it is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

import lib
from lib.model import generation


def answers(lm: lib.LM, prompts: Sequence[str], patch: lib.Patch, tokens: int = 4) -> list[float]:
    """KL(base ‖ edited) of each prompt, summed over the first tokens of the base model's answer.

    At each of them both models have read the prompt and the base model's answer so far.
    """
    rows, _ = lm.rows(list(prompts))

    def expected(row: list[int], ids: list[int]) -> Tensor:  # from which the answer's tokens come
        logits = lm.run([[*row, *ids]]).logits[0].float()
        return logits[len(row) - 1 :][: max(len(ids), 1)].log_softmax(-1)

    with lm.patched(lib.EMPTY, only=True):
        said = generation.generate(lm, rows, tokens).ids
        base = list(map(expected, rows, said))
    with lm.patched(patch):
        edited = list(map(expected, rows, said))
    # Σ over tokens t of the answer, Σ over words w of p_t(w) · (log p_t(w) − log p'_t(w))
    return [(p.exp() * (p - q)).sum().item() for p, q in zip(base, edited, strict=True)]


def next_token(lm: lib.LM, prompts: Sequence[str]) -> Callable[[lib.Patch], float]:
    """The mean KL(base ‖ patched) of the next token at these prompts, as a function of the patch."""
    prompts = list(prompts)
    with lm.patched(lib.EMPTY, only=True):
        base = lm.next_token(prompts)

    def of(patch: lib.Patch) -> float:
        with lm.patched(patch, only=True):
            now = lm.next_token(prompts)
        return (base.exp() * (base - now)).sum(1).clamp(min=0).mean().item()

    return of
