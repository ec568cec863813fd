"""Prompts with their answers as rows of token ids, and the positions predicting the answers.

Every editor using training needs the same numbers from a causal model: how likely is each token of
the answer, given the prompt and the answer's previous tokens? The model reads the prompt and the
answer without its last token, predicting answer token j at position `len(prompt) - 1 + j`. Only
this file computes those indices. Each editor sums the loss over them in its own way, because the
sums differ in memory and in the last bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..data.facts import encode_prompt, encode_target


@dataclass(frozen=True)
class AnswerRows:
    """Rows of token ids for reading with teacher forcing; positions count without padding.

    prompts     token ids of each row's prompt.
    answers     token ids of each row's answer; an empty answer marks a row without predictions.
    read_whole  the model also reads an answer's last token, after which nothing is predicted.
    at_prompt   all tokens of an answer are predicted from the prompt's last token, as in the
                published FT-L, instead of each from the preceding token.

    For example, the prompt [5, 6, 7] with the answer [8, 9] gives
    ids [[5, 6, 7, 8]], behind [1], ends [2], labels [[0, 0], [2, 3], [8, 9]], share [1/2, 1/2].
    """

    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]
    read_whole: bool = False
    at_prompt: bool = False

    @classmethod
    def of(
        cls, tokenizer: Any, pairs: Iterable[tuple[str, str]], eos: bool = False, **more: bool
    ) -> AnswerRows:
        """Return the rows of (prompt, answer) texts; with `eos`, every answer ends with this token.

        Prompt and answer are tokenized separately.
        """
        pairs = list(pairs)
        end = [tokenizer.eos_token_id] if eos else []
        prompts = [encode_prompt(tokenizer, prompt) for prompt, _ in pairs]
        return cls(prompts, [encode_target(tokenizer, target) + end for _, target in pairs], **more)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.prompts)

    @cached_property
    def ids(self) -> list[list[int]]:
        """The token ids that the model reads: each prompt with its answer except the last token."""
        last = None if self.read_whole else -1
        return [[*p, *a[:last]] for p, a in zip(self.prompts, self.answers, strict=True)]

    @cached_property
    def behind(self) -> list[int]:
        """The number of answer tokens at each row's end; routes decide at the token before them."""
        return [len(row) - len(p) for row, p in zip(self.ids, self.prompts, strict=True)]

    @cached_property
    def ends(self) -> list[int]:
        """The position of each prompt's last token, predicting the answer's first token."""
        return [len(prompt) - 1 for prompt in self.prompts]

    @cached_property
    def labels(self) -> Tensor:
        """Labels (3, m) int64 on the CPU, one column for each of the m answer tokens.

        A column holds the row, the position that predicts, and the token. Columns are in the order
        of the rows and of their answers' tokens.
        """
        step = 0 if self.at_prompt else 1
        labels = [
            (row, end + step * j, token)
            for row, (end, answer) in enumerate(zip(self.ends, self.answers, strict=True))
            for j, token in enumerate(answer)
        ]
        return torch.tensor(labels, dtype=torch.long).view(-1, 3).T

    @cached_property
    def share(self) -> Tensor:
        """One over the length of each label's answer, (m,) in float64.

        Using these weights, the losses of a row's labels sum to their mean. In float64, dividing a
        value again rounds it only when converting it to float32.
        """
        each = [1 / len(answer) for answer in self.answers for _ in answer]
        return torch.tensor(each, dtype=torch.float64)

    def plus(self, more: AnswerRows) -> AnswerRows:
        """Return these rows followed by additional rows, which are read in the same way."""
        prompts, answers = [*self.prompts, *more.prompts], [*self.answers, *more.answers]
        return AnswerRows(prompts, answers, self.read_whole, self.at_prompt)

    def take(self, rows: Iterable[int]) -> AnswerRows:
        """Return the rows with these numbers, in this order."""
        rows = list(rows)
        prompts, answers = ([side[i] for i in rows] for side in (self.prompts, self.answers))
        return AnswerRows(prompts, answers, self.read_whole, self.at_prompt)


def select_labels(labels: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
    """Return the labels of the remaining rows, renumbered, and a mask (m,) of their old places.

    labels  (3, m) as in `AnswerRows.labels`.
    stays   (rows,) bool.

    If rows 0 and 2 of three stay, the labels of row 2 become labels of row 1.
    """
    number = stays.long().cumsum(0) - 1  # a row's place among the remaining rows
    kept = stays[labels[0]]
    row, *rest = labels[:, kept]
    return torch.stack([number[row], *rest]), kept
