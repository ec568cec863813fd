"""The training loop that fine-tuning and LoRA share: epochs over shuffled batches of all facts.

The blocks below the lowest trained layer are constant, so the states of a batch that enter that
layer are captured, and a step runs only the blocks from there on. When all facts fit in one batch,
there is one capture for the whole training.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...errors import EditError
from ...model.answer_rows import AnswerRows
from ...model.lm import LM
from ...model.partial_forward import Replay


class Epochs(NamedTuple):
    """The length and order of a training, and the editor that errors name.

    epochs      largest number of passes over all rows
    batch_size  rows per step
    enough      loss in nats; a batch below it makes no step, and an epoch below it is the last
    seed        seed of the order of the rows, which matters only when there are several batches
    name        the editor that trains
    """

    epochs: int
    batch_size: int
    enough: float
    seed: int
    name: str


class Stepping(Protocol):
    """What moves the leaves once their `grad` is set, as an optimizer of torch does."""

    def step(self) -> Any:
        """Move the leaves, in place."""


def train(
    lm: LM,
    rows: AnswerRows,
    layer: int,
    leaves: Sequence[Tensor],
    optimizer: Stepping,
    by: Epochs,
    after_step: Callable[[], None] | None = None,
) -> None:
    """Train the leaves, in place, until the model gives the rows' answers.

    The leaves are bound to the model already, and none of them stands below block `layer`.
    after_step, when given, runs after every step of the optimizer. Raises EditError when a loss is
    not finite.
    """
    order, shuffle = list(range(len(rows))), random.Random(by.seed)
    several = len(rows) > by.batch_size
    learned: _Learned | None = None
    batch = rows
    for _ in range(by.epochs):
        mean = 0.0
        if several:
            shuffle.shuffle(order)
        for first in range(0, len(rows), by.batch_size):
            if several:
                batch = rows.take(order[first : first + by.batch_size])
            # capture the batch, unless all rows are one batch that was captured before
            if several or learned is None:
                learned = _Learned(lm, batch, layer)
            loss = learned.loss()
            now = loss.item()  # the one number of a step that is read, as a card waits for it
            mean += now * len(batch) / len(rows)
            if not math.isfinite(now):
                raise EditError(f"{by.name}: the loss is not finite; try a smaller lr")
            # a batch that is learned already moves nothing
            if now < by.enough:
                continue
            for leaf, grad in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
                leaf.grad = grad
            optimizer.step()
            if after_step is not None:
                after_step()
        if mean < by.enough:
            break


class _Learned:
    """The rows of one batch, captured once, with all that their loss needs beside them."""

    def __init__(self, lm: LM, rows: AnswerRows, layer: int) -> None:
        self.lm, self.count = lm, len(rows)
        with torch.no_grad():
            self.replay = Replay(lm, rows.ids, layer, behind=rows.behind)
        self.labels = self.replay.labels(rows)
        self.share = rows.share.float().to(self.replay.device)

    def loss(self) -> Tensor:
        """Mean over rows of the mean NLL of each row's answer, nats; differentiable."""
        with torch.enable_grad():
            states = self.replay.run(self.replay.hidden)
            row, column, token = self.labels
            log_probs = self.lm.head(states[row, column]).log_softmax(-1)
            chosen = log_probs.gather(1, token[:, None])[:, 0]
            return -(chosen * self.share).sum() / self.count
