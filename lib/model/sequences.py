"""What a route may know of the run it stands in: the tokens, and which of them are prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Sequences:
    """What a route may know of the present call; one is open during every run of the model.

    ids, real, prompt are (rows, length) of this call: token ids, not padding, part of the prompt.
    last (rows,) is the column of the prompt's last token in the first call. memo keeps tensors with
    one entry per row from call to call: a route's choices stand there under its module's name, and
    what it notes beside them for `explain` under `MODULE/score` and the like. embed is the model's
    input embedding; `LM.opened` names it.
    """

    ids: Tensor
    real: Tensor
    prompt: Tensor
    last: Tensor
    memo: dict[str, Tensor] = field(default_factory=dict)
    embed: nn.Module | None = None

    def embedded(self) -> Tensor:
        """Input embeddings (rows, length, d) of this call, as the model makes them (gemma scales).

        They depend on the tokens alone: whatever edits the layers above, these stay.
        """
        if self.embed is None:
            raise RuntimeError("sequences have embeddings only where LM.opened has opened them")
        with torch.no_grad():
            return self.embed.forward(self.ids)  # not a call: hooks are for the run itself

    def prompt_tokens(self, bos: int | None) -> Tensor:
        """(rows, length) bool: the prompts' tokens without a leading `bos`.

        The activation of a leading BOS is huge and the same everywhere, so means leave it out; a
        prompt that is nothing but a BOS keeps it.
        """
        if bos is None:
            return self.prompt
        first = self.prompt.long().cumsum(1) == 1
        rest = self.prompt & ~((self.ids == bos) & first)
        return torch.where(rest.any(1, keepdim=True), rest, self.prompt)

    def prompt_mean(self, wide: Tensor, bos: int | None) -> Tensor:
        """(rows, width) float32: means of wide (rows, length, width) over `prompt_tokens(bos)`.

        Raises RuntimeError where a part of a prompt is not in this call.
        """
        if wide.shape[1] != self.ids.shape[1] or not bool(self.prompt.any(1).all()):
            raise RuntimeError("a prompt must be run whole: a part of it is not in this call")
        counted = self.prompt_tokens(bos).to(wide.device)
        return row_means(wide[counted].float(), counted)

    def step(self, ids: Tensor) -> None:
        """Go on with one more generated token per row, ids (rows, 1)."""
        self.ids, self.real = ids, torch.ones_like(ids, dtype=torch.bool)
        self.prompt = torch.zeros_like(self.real)

    def extend(self, ids: Tensor) -> None:
        """The same without a cache: the whole text is run again with the new tokens behind."""
        new = torch.ones_like(ids, dtype=torch.bool)
        self.ids, self.real = torch.cat([self.ids, ids], 1), torch.cat([self.real, new], 1)
        self.prompt = torch.cat([self.prompt, ~new], 1)

    def select(self, rows: Tensor) -> None:
        """Keep only some rows, when others are finished."""
        self.ids, self.real, self.prompt = self.ids[rows], self.real[rows], self.prompt[rows]
        self.last = self.last[rows]
        self.memo = {name: value[rows] for name, value in self.memo.items()}


def row_means(values: Tensor, counted: Tensor) -> Tensor:
    """(rows, …): the mean of each row's values (n, …), which stand in the order of `counted`.

    counted (rows, length) bool has n entries that are True; no sum is made over the others.
    row_means((1., 3., 5.), ((1, 1), (0, 1))) -> (2., 5.)
    """
    owner = counted.nonzero()[:, 0]
    total = values.new_zeros(len(counted), *values.shape[1:]).index_add(0, owner, values)
    return total / counted.sum(1).view(-1, *[1] * (values.ndim - 1))
