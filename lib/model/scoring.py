"""Scoring given answers, and computing distributions of the next token.

Scores are teacher-forced: the probability of each token of an answer is computed using the true
tokens before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.facts import encode_target
from ..errors import ArgumentError
from .batching import grouped
from .read_once import ROWS, Question, TokenScores, alone, ask

if TYPE_CHECKING:
    from .lm import LM


def score(
    lm: LM, rows: Sequence[list[int]], targets: Sequence[str | Sequence[int]]
) -> list[TokenScores]:
    """Return the TokenScores of each target, a text or token ids, after its row.

    A row is read with each of its targets; targets differing only in their last token are read at
    once.

    Raises ValueError for an empty target, and if rows exceed the context.
    """
    ends = [tuple(encode_target(lm.tokenizer, t) if isinstance(t, str) else t) for t in targets]
    if len(ends) != len(rows):
        raise ArgumentError(f"There are {len(rows)} prompts but {len(ends)} targets.")
    wanted = grouped((tuple(row), end) for row, end in zip(rows, ends, strict=True))
    asked = [q for row, some in wanted.items() for q in alone(Question(list(row), some))]
    found = {
        (tuple(q.row), target): scores
        for q, reply in zip(asked, ask(lm, asked), strict=True)
        for target, scores in reply.scores.items()
    }
    return [found[tuple(row), end] for row, end in zip(rows, ends, strict=True)]


def next_token(lm: LM, rows: list[list[int]]) -> Tensor:
    """Return log-probabilities (n, vocabulary) of the token after each row, float32, on the CPU."""
    replies = ask(lm, [Question(row, state=True) for row in rows])
    states = torch.stack([reply.state for reply in replies]).to(lm.head_device)
    return torch.cat([lm.head(some).log_softmax(-1).cpu() for some in states.split(ROWS)])
