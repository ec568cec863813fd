"""The tokens of the model's current run, available to routes, and the ends of the prompts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn


@dataclass
class Sequences:
    """The rows of the current call; one object is open while the model is running.

    ids     (rows, length) token ids of this call.
    real    (rows, length) bool: not padding.
    prompt  (rows, length) bool: part of the prompt.
    last    (rows,) column of the prompt's last token in the first call.
    memo    tensors with one entry per row, kept between calls: a route's choices under its module's
            name, and the numbers it notes for `explain` under `MODULE/score` and so on.
    embed   the model's input embedding, set by `LM.opened`.
    """

    ids: Tensor
    real: Tensor
    prompt: Tensor
    last: Tensor
    memo: dict[str, Tensor] = field(default_factory=dict)
    embed: nn.Module | None = None

    def embedded(self) -> Tensor:
        """Return the call's input embeddings (rows, length, d), scaled if the model scales them.

        They depend only on the tokens, so no edit of a layer changes them.
        """
        with torch.no_grad():
            # not a call of the module, which would run the hooks of the model's own run
            ids = self.ids.to(next(self.embed.parameters()).device)
            return self.embed.forward(ids).to(self.ids.device)

    def prompt_tokens(self, bos: int | None) -> Tensor:
        """Return the tokens of the prompts without a leading `bos`, (rows, length) bool.

        The activation of a leading BOS is huge and the same in every text, so means exclude it. A
        prompt consisting only of a BOS keeps it.
        """
        if bos is None:
            return self.prompt
        first = self.prompt.long().cumsum(1) == 1
        rest = self.prompt & ~((self.ids == bos) & first)
        return torch.where(rest.any(1, keepdim=True), rest, self.prompt)

    def prompt_mean(self, wide: Tensor, bos: int | None) -> Tensor:
        """Return `mean_over` of `prompt_tokens(bos)`."""
        return self.mean_over(wide, self.prompt_tokens(bos))

    def mean_over(self, wide: Tensor, tokens: Tensor) -> Tensor:
        """Return means (rows, width) of wide (rows, length, width) over prompt tokens, float32.

        tokens  (rows, length) bool

        Raises RuntimeError if this call holds only a part of a prompt.
        """
        if wide.shape[1] != self.ids.shape[1] or not bool(self.prompt.any(1).all()):
            raise RuntimeError(
                "Part of the prompt is missing from this call. Run the prompt as a whole."
            )
        counted = Counted(tokens.to(wide.device))
        return counted.means(counted.values(wide).float())

    def prompt_end(self) -> Tensor:
        """Return the prompt's last token, (rows, length) bool, all false in later calls."""
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        return self.prompt & (columns == self.last.to(columns.device)[:, None])

    def on(self, device: torch.device) -> Sequences:
        """Return the same rows on another device, sharing their memo."""
        moved = {name: getattr(self, name).to(device) for name in ("ids", "real", "prompt", "last")}
        return replace(self, **moved)

    def step(self, ids: Tensor, real: Tensor | None = None) -> None:
        """Continue with tokens after the prompts, ids (rows, length), by default all real."""
        self.ids = ids
        self.real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        self.prompt = torch.zeros_like(self.real)

    def extend(self, ids: Tensor) -> None:
        """Continue without a cache: the whole text runs again, with ids (rows, 1) at its end."""
        new = torch.ones_like(ids, dtype=torch.bool)
        self.ids, self.real = torch.cat([self.ids, ids], 1), torch.cat([self.real, new], 1)
        self.prompt = torch.cat([self.prompt, ~new], 1)

    def select(self, rows: Tensor) -> None:
        """Keep only these rows, by number, once others are finished."""
        self.ids, self.real, self.prompt = self.ids[rows], self.real[rows], self.prompt[rows]
        self.last = self.last[rows]
        self.memo = {name: value[rows.to(value.device)] for name, value in self.memo.items()}


class Counted:
    """The n true entries of a mask (rows, length), found once for many `values` and `means`.

    Finding them makes the program wait for a GPU, but using `values` or `means` does not.

    row     (n,) the row of each of them.
    column  (n,) its column.
    each    (rows,) the number in each row.
    """

    def __init__(self, counted: Tensor) -> None:
        self.row, self.column = counted.nonzero().T
        self.each = counted.sum(1)

    def values(self, wide: Tensor) -> Tensor:
        """Return the entries (n, …) of wide (rows, length, …)."""
        return wide[self.row, self.column]

    def means(self, values: Tensor) -> Tensor:
        """Return the mean (rows, …) of each row's values (n, …).

        means((1., 3., 5.)) -> (2., 5.) for the mask ((1, 1), (0, 1))
        """
        total = values.new_zeros(len(self.each), *values.shape[1:])
        total = total.index_add(0, self.row, values)
        return total / self.each.view(-1, *[1] * (values.ndim - 1))
