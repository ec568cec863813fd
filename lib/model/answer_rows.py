"""Prompts with their answers as rows of token ids, and where the model predicts each answer token.

Every editor that trains asks a causal model the same question: how likely is the answer, token by
token, given the prompt and the answer's tokens so far? The model reads the prompt and the answer
without its last token, and answer token j is predicted at position `len(prompt) - 1 + j`. This file
has those indices once. How the loss is summed over them stays with each reader, because the sums
differ in memory and in the last bits.
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
    """Rows of token ids that are read with teacher forcing; the indices count without padding.

    prompts     token ids of each row's prompt
    answers     token ids of each row's answer; an empty one marks a row where nothing is predicted
    read_whole  the model also reads an answer's last token, after which nothing is predicted
    at_prompt   all tokens of an answer are predicted from the prompt's last token, as FT-L was
                published, and not each one from the token before it

    The prompt [5, 6, 7] with the answer [8, 9], for example, gives
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
        """The rows of (prompt, answer) texts, each tokenized apart; eos ends every answer."""
        pairs, end = list(pairs), [tokenizer.eos_token_id] if eos else []
        prompts = [encode_prompt(tokenizer, prompt) for prompt, _ in pairs]
        return cls(prompts, [encode_target(tokenizer, target) + end for _, target in pairs], **more)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.prompts)

    @cached_property
    def ids(self) -> list[list[int]]:
        """What the model reads: each prompt and its answer, of which the last token is no input."""
        last = None if self.read_whole else -1
        return [[*p, *a[:last]] for p, a in zip(self.prompts, self.answers, strict=True)]

    @cached_property
    def behind(self) -> list[int]:
        """How many tokens at each row's end are answer: routes decide at the prompt's end."""
        return [len(row) - len(p) for row, p in zip(self.ids, self.prompts, strict=True)]

    @cached_property
    def ends(self) -> list[int]:
        """Position of each prompt's last token, which predicts the first token of the answer."""
        return [len(prompt) - 1 for prompt in self.prompts]

    @cached_property
    def labels(self) -> Tensor:
        """(3, m) int64 on the CPU: row, position that predicts, token; one column per answer token.

        Columns are in the order of the rows and of their answers' tokens.
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
        """(m,): one over the length of each label's answer, so that a row's labels sum to a mean.

        In float64, so that a share divided once more is rounded only when it becomes float32.
        """
        each = [1 / len(answer) for answer in self.answers for _ in answer]
        return torch.tensor(each, dtype=torch.float64)

    def take(self, rows: Iterable[int]) -> AnswerRows:
        """Some of the rows, in this order."""
        rows = list(rows)
        prompts, answers = ([side[i] for i in rows] for side in (self.prompts, self.answers))
        return AnswerRows(prompts, answers, self.read_whole, self.at_prompt)


def select_labels(labels: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (3, m) of the rows for which stays (rows,) is true, renumbered; and which they are.

    The second is a mask (m,) over the old labels, for whatever is kept beside them.
    Rows 0, 1, 2 of which 0 and 2 stay: labels of row 2 become labels of row 1.
    """
    number = stays.long().cumsum(0) - 1  # a row's place among those that stay
    kept = stays[labels[0]]
    row, *rest = labels[:, kept]
    return torch.stack([number[row], *rest]), kept
