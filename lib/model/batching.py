"""Rows of token ids as batches: sorted by length, padded on the left, told apart from padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .answer_rows import AnswerRows
from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM


BATCH_TOKENS = 4096  # padded tokens per forward: bounds memory, keeps products large


def batches(rows: Sequence[Sequence[int]], limit: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Row numbers in groups of similar length, at most `limit` padded tokens each."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        size = max(1, limit // len(rows[order[0]]))
        yield order[:size]
        order = order[size:]


def pad(lm: LM, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(n, L) ids and which of them are real, padded on the left."""
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=lm.device)
    real = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    return ids, real.to(lm.device)


def sequences(
    lm: LM, rows: Sequence[Sequence[int]], behind: Sequence[int] | None = None
) -> Sequences:
    """A `Sequences` of padded rows whose last `behind[i]` tokens are no part of the prompt."""
    ids, real = pad(lm, rows)
    after = torch.zeros(len(rows), dtype=torch.long) if behind is None else torch.tensor(behind)
    last = ids.shape[1] - 1 - after.to(lm.device)
    columns = torch.arange(ids.shape[1], device=lm.device)
    return Sequences(ids, real, real & (columns <= last[:, None]), last)


def padded_labels(answers: AnswerRows) -> Tensor:
    """Labels (3, m) of rows that are padded on the left: row, column that predicts, token."""
    row, position, token = answers.labels
    lengths = torch.tensor([len(ids) for ids in answers.ids])
    return torch.stack([row, position + (lengths.max() - lengths)[row], token])


def check_length(lm: LM, rows: Sequence[Sequence[int]]) -> None:
    """Raise ValueError when a row is longer than the context."""
    longest = max(map(len, rows), default=0)
    if lm.context and longest > lm.context:
        raise ValueError(
            f"prompt and target together have {longest} tokens, the context {lm.context}"
        )
