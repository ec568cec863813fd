"""What fine-tuning trains on: rows of prompt and answer, and the loss of a replayed batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .facts import Fact, encode_prompt, encode_target
from .lm import LM
from .replay import Replay

Row = tuple[list[int], list[int]]


def row(lm: LM, fact: Fact, eos: bool) -> Row:
    """Ids of the prompt and of the target (with its end), tokenized apart."""
    target = encode_target(lm.tokenizer, fact.target_new)
    end = [lm.tokenizer.eos_token_id] if eos else []
    return encode_prompt(lm.tokenizer, fact.text), target + end


def loss(lm: LM, batch: Sequence[Row], replay: Replay, at_prompt: bool = False) -> Tensor:
    """Mean over facts of the mean NLL over that fact's target tokens, nats; differentiable.

    at_prompt: all of them predicted from the prompt's last token, as FT-L was published.
    """
    with torch.enable_grad():
        states = replay.run(replay.hidden)
        which, column, token = [], [], []
        for i, (prompt, target) in enumerate(batch):
            for j, t in enumerate(target):
                which.append(i)
                column.append(replay.column(i, len(prompt) - 1 + (0 if at_prompt else j)))
                token.append(t)
        log_probs = lm.head(states[which, column]).log_softmax(-1)
        tokens = torch.tensor(token, device=log_probs.device)[:, None]
        share = torch.tensor([1 / len(batch[i][1]) for i in which], device=log_probs.device)
        return -(log_probs.gather(1, tokens)[:, 0] * share).sum() / len(batch)
