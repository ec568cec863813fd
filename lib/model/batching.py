"""Sorting rows of token ids by length into batches, padding them on the left.

A row is the token ids of one text. The model reads rows of one length only, so a batch contains
rows of similar length, and a mask distinguishes real tokens from padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import ArgumentError
from .answer_rows import AnswerRows
from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM

K = TypeVar("K")
V = TypeVar("V")
BATCH_TOKENS = 4096  # padded tokens per forward: bounds memory, keeps products large
# The fixed cost of a run, as a number of tokens: reading every weight from memory once.
# On a CPU, running one token of the default model takes as long as 32 more tokens of a large run.
EXTRA = 32


def batches(rows: Sequence[Sequence[int]], limit: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Return row numbers in groups of similar length, of at most `limit` padded tokens each."""
    # the longest row comes first, deciding how many rows of its group fit
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        size = max(1, limit // len(rows[order[0]]))
        yield order[:size]
        order = order[size:]


def planned(lengths: Sequence[int], limit: int, extra: int = EXTRA) -> list[list[int]]:
    """Return row numbers in groups of similar length, at the least cost in padded tokens.

    A group costs its padded tokens and `extra` more. These represent the fixed time of a run: every
    weight is read from memory once. No group has more than `limit` padded tokens, except a single
    row that is longer.

    lengths (9, 2, 9, 2) with limit 64 and extra 8 -> [[0, 2], [1, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    least, start = [0.0], [0]  # least[n]: the least cost of the first n rows; start: its last group
    for end in range(1, len(order) + 1):
        found: tuple[float, int] = (math.inf, end - 1)
        for begin in range(end - 1, -1, -1):
            padded = lengths[order[begin]] * (end - begin)
            if padded > limit and begin < end - 1:
                break  # the longest row is the first, so a longer group is even larger
            found = min(found, (least[begin] + padded + extra, begin))
        least.append(found[0])
        start.append(found[1])
    groups, end = [], len(order)
    while end:
        groups.append(order[start[end] : end])
        end = start[end]
    return groups[::-1]


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """Return {key: the values of its pairs}, both in the order of the pairs."""
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def pad(
    lm: LM, rows: Sequence[Sequence[int]], starts: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Return token ids (n, L), padded with 0, and a mask (n, L) of the real ones.

    starts  the column where each row begins; by default all rows end together.
    """
    if starts is None:
        length = max(map(len, rows))
        starts = [length - len(row) for row in rows]
    each = [torch.tensor([0] * n + [*row]).long() for n, row in zip(starts, rows, strict=True)]
    here = [torch.arange(len(some)) >= n for n, some in zip(starts, each, strict=True)]
    ids, real = (pad_sequence(some, batch_first=True) for some in (each, here))
    lm.refuse_unknown(ids)
    return ids.to(lm.device), real.to(lm.device)


def sequences(
    lm: LM,
    rows: Sequence[Sequence[int]],
    behind: Sequence[int] | None = None,
    starts: Sequence[int] | None = None,
) -> Sequences:
    """Return the `Sequences` of rows, padded with `pad`.

    behind  number of tokens at each row's end not belonging to its prompt; by default none.
    """
    ids, real = pad(lm, rows, starts)
    columns = torch.arange(ids.shape[1], device=lm.device)
    last = (real * columns).max(1).values
    if behind is not None:
        last = last - torch.tensor(behind, device=lm.device)
    return Sequences(ids, real, real & (columns <= last[:, None]), last)


def padded_labels(answers: AnswerRows) -> Tensor:
    """Return labels (3, m) of rows padded on the left, using one column per answer token.

    A column contains the row, the column of the padded rows for predicting the token, and the
    token.
    """
    row, position, token = answers.labels
    lengths = torch.tensor([len(ids) for ids in answers.ids])
    return torch.stack([row, position + (lengths.max() - lengths)[row], token])


def check_length(lm: LM, rows: Sequence[Sequence[int]]) -> None:
    """Raise ValueError if a row is longer than the context."""
    longest = max(map(len, rows), default=0)
    if lm.context and longest > lm.context:
        raise ArgumentError(
            f"Prompt and target together have {longest} tokens, but the context has {lm.context}."
        )
